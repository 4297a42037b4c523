"""Helpers for GPUs: few tensor shapes, copies through pinned memory, attention kernels without planning."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["HostCopy", "prepare_gpu", "rounded_up", "to_device", "together_to_device"]


def prepare_gpu() -> None:
    """Disable what is slow or inexact.

    cuDNN's attention takes most of a second to plan each new shape. Its float32 convolutions, which replace the linear
    layers of SqueezeBERT, use TF32 by default: on an H200 that changed a hidden state by 2e-4.
    """
    torch.backends.cuda.enable_cudnn_sdp(False)
    torch.backends.cudnn.allow_tf32 = False


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device. To a GPU the copy goes on while the next operators are launched."""
    tensor = torch.from_numpy(array)
    if device.type != "cuda":
        return tensor.to(device)
    pinned = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    pinned.numpy()[...] = array  # torch would use a thread per core, which then spin
    return pinned.to(device, non_blocking=True)


def together_to_device(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> Sequence[Tensor]:
    """Copy one-dimensional arrays to the device as int32, all in one copy."""
    joined = to_device(np.concatenate(arrays, dtype=np.int32, casting="unsafe"), device)
    return torch.split(joined, [len(array) for array in arrays])


class HostCopy:
    """An asynchronous copy of a tensor to the host. It starts when the tensor has been computed."""

    def __init__(self, tensor: Tensor) -> None:
        self._host, self._copied = tensor, None
        if tensor.device.type == "cuda":
            self._host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            self._host.copy_(tensor, non_blocking=True)
            self._copied = torch.cuda.Event()  # type: ignore[no-untyped-call]
            self._copied.record()

    def is_done(self) -> bool:
        """Whether `wait` returns immediately."""
        return self._copied is None or bool(self._copied.query())  # type: ignore[no-untyped-call]

    def wait(self) -> npt.NDArray[Any]:
        """Wait for the copy, and return it."""
        if self._copied is not None:
            self._copied.synchronize()
        return self._host.numpy()


def rounded_up(length: int, longest: int) -> int:
    """Return the length to which texts of `length` tokens are padded on a GPU, where each new shape has a cost.

    From 64 tokens up it is at most an eighth more than `length`. It is at most `longest`, the model's maximum.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return max(length, min(-(-length // step) * step, longest))
