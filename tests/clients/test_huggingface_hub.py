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


def test_a_long_text_is_truncated_on_request(url: str) -> None:
    client = InferenceClient(model=url)
    assert client.feature_extraction("one " * 300, truncate=True, truncation_direction="left").shape == (1, 384)
    with pytest.raises(HfHubHTTPError, match="302 tokens; the model's maximum is 256"):
        client.feature_extraction("one " * 300)


def test_sentences_are_compared(url: str) -> None:
    same, other = InferenceClient(model=url).sentence_similarity("a", other_sentences=["a", "b"])
    assert same == pytest.approx(1, abs=1e-6)
    assert other < same


def test_a_text_gets_its_labels(rerank_url: str) -> None:
    found = InferenceClient(model=rerank_url).text_classification("a")
    assert found.label == "LABEL_0"
