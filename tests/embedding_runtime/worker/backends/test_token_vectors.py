"""Vectors of tokens on the huggingface backend, compared with sentence-transformers' token_embeddings."""

from pathlib import Path

import numpy as np
import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import as_ragged
from embedding_runtime.worker.backends import registry

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

tiny = pytest.importorskip("support.tiny_models")

TEXTS = [
    "a",
    "the quick brown fox",
    "Upper CASE, Ünïcödé, 你好, 🙂",
    "jumps over " * 9,
    *(f"n {n} " * n for n in range(5)),
]


@pytest.mark.parametrize("shape", list(tiny.SHAPES))
def test_vectors_of_tokens_equal_token_embeddings(tmp_path: Path, shape: str) -> None:
    body = tiny.a_transformer(tmp_path / "body", tiny.SHAPES[shape])
    model = tiny.saved(
        tmp_path / "model",
        body,
        steps=[tiny.Dense(32, 8), tiny.Normalize()],
        prompts={"query": "query: "},
        default_prompt_name="query",
    )
    reference = tiny.SentenceTransformer(str(model), device="cpu")
    wanted = [reference.encode(text, output_value="token_embeddings").cpu().numpy() for text in TEXTS]
    spec = ModelSpec.read(model)
    assert spec.hidden == wanted[0].shape[1]
    backend = registry.load(BackendName.HUGGINGFACE, spec, allow_pickle=False)
    ids = TextTokenizer(spec).encode(TEXTS, prompt=spec.prompt)
    together = as_ragged(backend.embed(ids, Output.PER_TOKEN))
    assert together.lengths.tolist() == [len(vectors) for vectors in wanted] == ids.lengths.tolist()
    for text, vectors, alone in zip(together, wanted, ids.singles(), strict=True):
        for found in (text, as_ragged(backend.embed(alone, Output.PER_TOKEN))):
            assert np.abs(found.values - vectors).max() < 1e-4 * max(1, np.abs(vectors).max())
