"""Random models of transformers' architectures have the vectors of sentence-transformers, or are refused.

`DRAWS_SEED` (0) changes all of them. A message begins with the draw's name and what was drawn.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.backends.vllm_limits import REMEDY
from embedding_runtime.worker.warm_up import warm_up
from support.asking import answers

pytestmark = pytest.mark.filterwarnings("ignore")  # of a hundred classes that nobody has touched for years

torch = pytest.importorskip("torch")
architectures = pytest.importorskip("support.architectures")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")

SEED = os.environ.get("DRAWS_SEED", "0")
DRAWS, VLLM_DRAWS = 300, 20

TYPES = architectures.model_types()
random.Random(SEED).shuffle(TYPES)

VLLM_TYPES = [
    *("bert", "qwen3", "roberta", "xlm-roberta"),  # in the matrix
    *("gemma2", "gemma3_text", "llama", "mistral", "modernbert", "qwen2"),  # classes of vLLM's own
    *("albert", "camembert", "distilbert", "electra", "mpnet", "olmo2", "qwen3_moe", "t5"),  # transformers' code
]
VLLM_RANGE = architectures.Range(
    head_sizes=(32,), poolings=("cls", "mean", "lasttoken"), joined=(1,), dtypes=(torch.float32,)
)
"""What vLLM serves on CPUs."""
VLLM_TEXTS = architectures.TEXTS[:-1]
"""Without the padding's token inside of a text, which frontends reject where vLLM gives it other positions."""

MINIMUM_COSINE = 0.9999

WITHOUT_DECODER = {
    *("blenderbot", "blenderbot-small", "longt5", "m2m_100", "marian", "pegasus", "pegasus_x", "prophetnet"),
    "switch_transformers",
}
"""Types of which sentence-transformers uses the encoder alone."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """With more, threads wait for each other most of the time."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def directory() -> Iterator[Path]:
    """Removed at once: the models of all draws take a gigabyte."""
    with TemporaryDirectory() as scratch:
        yield Path(scratch, "model")


@pytest.mark.parametrize("draw", [f"{SEED}.{number}" for number in range(DRAWS)])
def test_a_random_model_has_exact_vectors_or_is_refused(directory: Path, draw: str) -> None:
    first = TYPES[int(draw.rpartition(".")[2]) % len(TYPES)]
    model = architectures.a_random_model(directory, draw, first, TYPES)
    spec = ModelSpec.read(directory).limited(max_length=None, dtype=Dtype.FLOAT32)
    try:
        backend = huggingface.load(spec)
    except ModelRefused as refused:
        if model.model_type in WITHOUT_DECODER:
            return
        raise AssertionError(f"{model.drawn} is refused") from refused
    warm_up(backend, spec)
    ids = TextTokenizer(spec).encode(architectures.TEXTS)
    alone = np.concatenate([backend.embed(text) for text in ids.singles()])
    for mates, vectors in (("alone", alone), ("together", backend.embed(ids))):
        off = np.abs(vectors - model.vectors).max() / np.abs(model.vectors).max()
        assert off < 1e-4, f"{model.drawn}: {off:.1e} from sentence-transformers {mates}, {backend.detail}"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_random_models_have_exact_vectors_on_vllm_or_are_refused(tmp_path: Path) -> None:
    models = {}
    for number in range(VLLM_DRAWS):
        name, first = f"{SEED}.vllm.{number}", VLLM_TYPES[number % len(VLLM_TYPES)]
        models[name] = architectures.a_random_model(tmp_path / name, name, first, VLLM_TYPES, VLLM_RANGE)
    questions = [(tmp_path / name, VLLM_TEXTS) for name in models]
    served, wrong = [], []
    for (name, model), answer in zip(models.items(), answers("vllm", questions, tmp_path / "log"), strict=True):
        said = answer.get("refused", "")
        if not said:
            served.append(name)
            wanted = model.vectors[: len(VLLM_TEXTS)]
            cosine = min(lowest_cosine(np.array(answer[mates]), wanted) for mates in ("alone", "together"))
            said = "" if cosine >= MINIMUM_COSINE else f"cosine {cosine:.5f}"
        if said and REMEDY not in said:
            wrong.append(f"{name}: {model.drawn}: {said}")
        print(name, model.drawn, said or "exact", sep=": ", flush=True)
    assert not wrong
    assert len(served) >= VLLM_DRAWS / 2


def lowest_cosine(found: npt.NDArray[Any], wanted: npt.NDArray[Any]) -> float:
    norms = np.linalg.norm(found, axis=1) * np.linalg.norm(wanted, axis=1)
    return float(((found * wanted).sum(axis=1) / norms).min())
