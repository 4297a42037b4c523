"""What an exception from the middle of a batch means."""

from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import BatchFailed

pytestmark = [
    pytest.mark.model,
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]

torch = pytest.importorskip("torch")
huggingface = pytest.importorskip("embedding_runtime.worker.backends.huggingface")
tiny = pytest.importorskip("support.tiny_models")

TEXTS = TokenBatch.of([np.array([1, 2, 3], dtype=np.int32)])


@pytest.fixture
def backend(tmp_path: Path) -> Any:
    return huggingface.load(ModelSpec.read(tiny.a_transformer(tmp_path, tiny.SHAPES["bert"])))


def failing_with(error: Exception) -> Any:
    def forward(*_: object) -> NoReturn:
        raise error

    return forward


@pytest.mark.parametrize("error", [IndexError("out of range"), RuntimeError("shapes differ"), MemoryError()])
def test_an_exception_of_the_models_code_is_its_batchs_and_the_next_one_is_computed(
    backend: Any, error: Exception
) -> None:
    before, forward = backend.embed(TEXTS), backend._forward
    backend._forward = failing_with(error)
    with pytest.raises(BatchFailed, match=type(error).__name__):
        backend.embed(TEXTS)
    backend._forward = forward
    assert np.array_equal(backend.embed(TEXTS), before)


@pytest.mark.parametrize("kind", [torch.AcceleratorError, torch.OutOfMemoryError])
def test_an_exception_of_the_device_is_the_end(backend: Any, kind: type[Exception]) -> None:
    backend._forward = failing_with(kind("CUDA error: device-side assert triggered"))
    with pytest.raises(kind):
        backend.embed(TEXTS)
