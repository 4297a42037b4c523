"""Classification of exceptions of a batch."""

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


@pytest.mark.parametrize(
    "error",
    [
        IndexError("out of range"),
        RuntimeError("shapes differ"),
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory"),
    ],
)
def test_an_exception_of_the_models_code_fails_only_its_batch(backend: Any, error: Exception) -> None:
    before, forward = backend.embed(TEXTS), backend._forward
    backend._forward = failing_with(error)
    with pytest.raises(BatchFailed, match=type(error).__name__):
        backend.embed(TEXTS)
    backend._forward = forward
    assert np.array_equal(backend.embed(TEXTS), before)


def test_an_exception_of_the_device_is_fatal(backend: Any) -> None:
    backend._forward = failing_with(torch.AcceleratorError("CUDA error: device-side assert triggered"))
    with pytest.raises(torch.AcceleratorError):
        backend.embed(TEXTS)


def test_a_batch_that_exceeds_gpu_memory_fails_after_freeing_it(backend: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    freed = []
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: True)
    monkeypatch.setattr(torch.accelerator, "synchronize", lambda: None)
    monkeypatch.setattr(torch.accelerator, "empty_cache", lambda: freed.append(True))
    backend._forward = failing_with(torch.OutOfMemoryError("CUDA out of memory"))
    with pytest.raises(BatchFailed, match="OutOfMemoryError"):
        backend.embed(TEXTS)
    assert freed
