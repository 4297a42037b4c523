"""What a GPU needs and a CPU does not: few shapes, pinned memory for copies, attention that starts at once."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["prepare_gpu", "rounded_up", "to_device", "to_host", "together_to_device"]


def prepare_gpu() -> None:
    """Choose attention's kernels. cuDNN's builds a plan for every new shape, which takes most of a second."""
    torch.backends.cuda.enable_cudnn_sdp(False)


def to_device(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """Copy an array to the device. To a GPU the copy goes on while the next operators are launched."""
    tensor = torch.from_numpy(array)
    return tensor.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else tensor.to(device)


def together_to_device(arrays: Sequence[npt.NDArray[Any]], device: torch.device) -> Sequence[Tensor]:
    """Copy arrays of one dimension as int32, in one copy."""
    joined = to_device(np.concatenate(arrays, dtype=np.int32, casting="unsafe"), device)
    return joined.split([len(array) for array in arrays])


def to_host(tensor: Tensor) -> Callable[[], npt.NDArray[Any]]:
    """Begin to copy a tensor to the host. What is returned waits for the end of that, and for nothing later."""
    if tensor.device.type != "cuda":
        return tensor.numpy
    host = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
    host.copy_(tensor, non_blocking=True)
    copied = torch.cuda.Event()
    copied.record()

    def wait() -> npt.NDArray[Any]:
        copied.synchronize()
        return host.numpy()

    return wait


def rounded_up(length: int, longest: int) -> int:
    """Return the length to which texts of `length` tokens are padded on a GPU, where each shape has a cost of its own.

    At most an eighth more than `length` from 64 tokens up; at most `longest`, which the model takes.
    """
    step = max(8, 1 << max(0, length.bit_length() - 4))
    return max(length, min(-(-length // step) * step, longest))
