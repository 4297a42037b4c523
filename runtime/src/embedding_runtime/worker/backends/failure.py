"""What an exception in the middle of a batch means: a text that cannot be computed, or a process that is done for."""

import torch

from embedding_runtime.worker.backends.base import BatchFailed

__all__ = ["batch_failed"]


def batch_failed(error: Exception) -> BatchFailed:
    """To be raised from `error`. Raises `error` itself, or what the device says, where no next batch can be promised.

    A device that has failed once (an illegal access, a device-side assertion) fails at every call from then on.
    """
    if isinstance(error, torch.OutOfMemoryError):
        # The allocation failed, not the device: half of the batch may fit, once what the batch has held is free again.
        torch.cuda.empty_cache()
    elif isinstance(error, torch.AcceleratorError):
        raise error
    if torch.accelerator.is_available():
        torch.accelerator.synchronize()
    return BatchFailed(f"{type(error).__name__}: {' '.join(str(error).split())}")
