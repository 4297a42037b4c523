"""Sparse vectors and vectors of tokens of a real model, over HTTP, compared with sentence-transformers."""

from pathlib import Path

import numpy as np
import pytest

from support.runtime_server import RuntimeServer

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

tiny = pytest.importorskip("support.tiny_models")

TEXTS = ["a", "the quick brown fox", "jumps over the lazy dog", *(f"query {n} " * n for n in range(1, 6))]


def test_sparse_vectors_equal_those_of_sparse_encoder(tmp_path: Path) -> None:
    model = tiny.a_sparse_encoder(tmp_path, tiny.SHAPES["bert"])
    reference = tiny.SparseEncoder(str(model), device="cpu")
    with RuntimeServer("auto", model=model) as server:
        answer = server.ready().post("/embed_sparse", inputs=TEXTS * 10)
    assert answer.status_code == 200, answer.text
    for place, found in enumerate(answer.json()):
        wanted = reference.encode([TEXTS[place % len(TEXTS)]]).to_dense().numpy()[0]
        indices = [item["index"] for item in found]
        assert indices == sorted(set(indices))
        vector = np.zeros_like(wanted)
        vector[indices] = [item["value"] for item in found]
        assert np.abs(vector - wanted).max() < 1e-4


def test_vectors_of_tokens_equal_token_embeddings(tmp_path: Path) -> None:
    body = tiny.a_transformer(tmp_path / "body", tiny.SHAPES["bert"])
    model = tiny.saved(tmp_path / "model", body, steps=[tiny.Normalize()])
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    with RuntimeServer("huggingface", model=model) as server:
        all_vectors = server.ready().post("/embed_all", inputs=TEXTS * 10).json()
        pooled = server.post("/pooling", input=TEXTS, task="token_embed").json()["data"]
    for place, found in enumerate(all_vectors):
        wanted = reference.encode(TEXTS[place % len(TEXTS)], output_value="token_embeddings").numpy()
        assert np.abs(np.array(found) - wanted).max() < 1e-4
    for item, text in zip(pooled, TEXTS, strict=True):
        wanted = reference.encode(text, output_value="token_embeddings").numpy()
        wanted /= np.linalg.norm(wanted, axis=1, keepdims=True)
        assert np.abs(np.array(item["data"]) - wanted).max() < 1e-4
