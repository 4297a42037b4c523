"""Classifies exceptions of a batch: a text that cannot be computed, or a process that cannot continue."""

import torch

from embedding_runtime.worker.backends.base import BatchFailed

__all__ = ["batch_failed"]


def batch_failed(error: Exception) -> BatchFailed:
    """Return an exception to raise from `error`. If the process cannot continue, raise the fatal exception itself.

    After an illegal access or a device-side assertion every call of a device fails. After an out-of-memory error the
    memory of the batch is free again, and half of the batch may fit.
    """
    if isinstance(error, torch.AcceleratorError):
        raise error
    if isinstance(error, torch.OutOfMemoryError) and torch.accelerator.is_available():
        torch.accelerator.empty_cache()  # cached blocks in the sizes of this batch
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return BatchFailed(f"{type(error).__name__}: {' '.join(str(error).split())}")
