"""Random architectures of transformers' registry: each gets the vectors of sentence-transformers or is refused."""

import random
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.model import ModelRefused, ModelSpec, Pooling
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.backends.base import BatchFailed
from embedding_runtime.worker.main import prove

pytestmark = pytest.mark.filterwarnings("ignore")  # of a hundred classes that nobody has touched for years

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")
architectures = pytest.importorskip("support.architectures")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")

SHARES = 12
TEXTS = ["a", "the quick brown fox", "query " * 9, "jumps over " * 9, "the lazy dog " * 8, "<pad> in [PAD] a text"]


def rows_of(reference: Any) -> npt.NDArray[Any]:
    """Each text alone, so that no padding touches it."""
    return np.concatenate([reference.encode([text], show_progress_bar=False) for text in TEXTS])


def verdict(directory: Path, model_type: str, seed: int) -> str:
    """Of one draw: exact, refused, or why there is nothing to compare."""
    draw = random.Random(f"{model_type} {seed}")
    plain = architectures.a_random_model(directory / "plain", model_type, draw)
    if plain is None:
        return "not drawn"
    try:
        model = tiny.saved(directory / "saved", plain, pooling=draw.choice(list(Pooling)))
        reference = tiny.SentenceTransformer(str(model), device="cpu")
        wanted = rows_of(reference)
    except Exception:  # noqa: BLE001 what the reference does not serve, nobody has a vector of
        return "no reference"
    if not np.isfinite(wanted).all() or not np.allclose(wanted, rows_of(reference), atol=1e-5):
        return "no reference"
    try:
        spec = ModelSpec.read(model)
        backend = huggingface.load(spec)
        prove(backend, spec)
        ids = TextTokenizer(spec).encode(TEXTS)
        found = {
            "alone": np.concatenate([backend.embed(text) for text in ids.singles()]),
            "together": backend.embed(ids),
        }
    except (ModelRefused, BatchFailed) as refused:
        return f"refused: {refused}"
    for mates, rows in found.items():
        off = np.abs(rows - wanted).max() / np.abs(wanted).max()
        assert off < 1e-4, f"{model_type} {mates}: {off:.1e} from sentence-transformers, {backend.detail}"
    return "exact"


@pytest.mark.parametrize("share", range(SHARES))
def test_a_random_architecture_has_its_own_vectors_or_is_refused(tmp_path: Path, share: int) -> None:
    verdicts = {
        model_type: verdict(tmp_path / model_type, model_type, seed=0)
        for model_type in architectures.model_types()[share::SHARES]
    }
    assert list(verdicts.values()).count("exact") > len(verdicts) / 4, verdicts
