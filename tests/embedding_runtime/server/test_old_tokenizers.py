"""Models without tokenizer.json, or with one that transformers rewrites, get sentence-transformers' own vectors."""

from pathlib import Path

import numpy as np
import pytest

from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.model

tiny = pytest.importorskip("support.tiny_models")
old = pytest.importorskip("support.old_tokenizers")

TEXTS = ["The Quick fox", "jumps over the lazy dog", "ÜBER 2"]


def a_model(directory: Path, name: str) -> Path:
    kind, age = old.OLD_TOKENIZERS[name]
    model: Path = tiny.a_transformer(directory, tiny.SHAPES[kind])
    return age(model)  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("frontends", "name"),
    [
        (1, "vocab.txt"),
        *(pytest.param(1, name, marks=pytest.mark.slow) for name in old.OLD_TOKENIZERS if name != "vocab.txt"),
        *((2, name) for name in old.OLD_TOKENIZERS),
    ],
)
def test_vectors_equal_the_reference(tmp_path: Path, name: str, frontends: int) -> None:
    model = a_model(tmp_path / "model", name)
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    with RuntimeServer("huggingface", model=model, frontends=frontends, env={"TMPDIR": str(scratch)}) as server:
        server.ready()
        answer = server.embeddings(input=TEXTS).json()
        assert server.stop() == 0
    wanted = tiny.SentenceTransformer(str(model), device="cpu").encode(TEXTS)
    found = np.array([each["embedding"] for each in answer["data"]])
    assert np.abs(found - wanted).max() < 1e-5
    assert list(scratch.glob("embedding-runtime*")) == []
