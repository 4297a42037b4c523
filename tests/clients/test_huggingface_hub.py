"""huggingface_hub's InferenceClient, as it speaks to Text Embeddings Inference."""

import numpy as np
import pytest
from huggingface_hub import InferenceClient
from huggingface_hub.errors import HfHubHTTPError


def test_texts_get_vectors(url: str) -> None:
    client = InferenceClient(model=url)
    rows = client.feature_extraction(["a", "b"])
    assert rows.shape == (2, 384)
    assert np.array_equal(client.feature_extraction("b", normalize=True), rows[1:])


def test_too_long_a_text_is_cut_where_asked(url: str) -> None:
    client = InferenceClient(model=url)
    assert client.feature_extraction("one " * 300, truncate=True, truncation_direction="left").shape == (1, 384)
    with pytest.raises(HfHubHTTPError, match="302 tokens; the model takes 256"):
        client.feature_extraction("one " * 300)
