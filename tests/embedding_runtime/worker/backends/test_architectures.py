"""Random models of transformers' architectures have the vectors of sentence-transformers, or are refused.

`DRAWS_SEED` changes all of them (0). A test has the name of its draw, and can be run alone.
"""

import os
import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.worker.main import warm_up

pytestmark = pytest.mark.filterwarnings("ignore")  # of a hundred classes that nobody has touched for years

torch = pytest.importorskip("torch")
architectures = pytest.importorskip("support.architectures")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")

SEED = int(os.environ.get("DRAWS_SEED", "0"))
DRAWS = 300

TYPES = architectures.model_types()
random.Random(SEED).shuffle(TYPES)

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
