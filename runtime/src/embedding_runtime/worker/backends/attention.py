"""Attention within each text of a packed batch, in float32 on CPUs: the kernel of attention.c, or torch's operators.

For mixed texts it computes attention 2.5 times as fast, and a whole batch 7% faster: docs/performance.md.
`hatch_build.py` compiles it where a package is built with a C compiler. Without it, on CPUs without AVX2, and if its
results are not those of torch, torch's operators are used.
"""

import ctypes
import logging
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from embedding_runtime.worker.backends.runs import Run

__all__ = ["LONGEST", "Attend", "Block", "Kernel", "by_torch", "kernel_for"]

_log = logging.getLogger(__name__)

Attend = Callable[[Tensor], Tensor]
"""Queries, keys and values of all tokens (tokens, 3 x hidden) -> (tokens, hidden)."""

LONGEST = 512
"""The most tokens of a text that the kernel supports."""

_SIZES = (32, 64)
"""The numbers of a head that the kernel supports."""

_DIRECTORY = Path(__file__).parent

_LIBRARIES = {"AVX2": "attention_avx2.so", "AVX512": "attention_avx512.so"}
"""The compiled libraries, by torch's name of the CPU's capability."""


class Block(NamedTuple):
    """Texts of equal length, and their attention bias: (1, heads, length, length)."""

    run: Run
    bias: Tensor | None = None


def by_torch(projected: Tensor, blocks: Sequence[Block], heads: int) -> Tensor:
    """Attention of a batch that consists of these blocks. `projected`: see Attend."""
    attended = [_of_block(projected, block, heads) for block in blocks]
    return attended[0] if len(attended) == 1 else torch.cat(attended)


def _of_block(projected: Tensor, block: Block, heads: int) -> Tensor:
    run, bias = block
    parts = projected[run.start : run.stop].view(run.texts, run.length, 3, heads, -1)
    query, key, value = parts.permute(2, 0, 3, 1, 4)  # each: (texts, heads, length, size)
    attended = scaled_dot_product_attention(query, key, value, bias)
    return attended.transpose(1, 2).reshape(run.stop - run.start, -1)


class Kernel:
    """The compiled attention.c."""

    def __init__(self, library: Path) -> None:
        """Raises OSError if it cannot be loaded."""
        # It is linked to OpenMP, and torch's is already loaded: both use the same threads.
        self._attend = ctypes.CDLL(str(library)).attend
        self._attend.argtypes = [*[ctypes.c_void_p] * 3, *[ctypes.c_long] * 3]
        self._attend.restype = None

    def __call__(self, projected: Tensor, bounds: npt.NDArray[np.int32], heads: int) -> Tensor:
        """Attention of a batch in float32. `projected`: see Attend. `bounds`: 0, then the end of each text."""
        tokens, hidden = len(projected), projected.shape[1] // 3
        projected, result = projected.contiguous(), projected.new_empty(tokens, hidden)
        self._attend(
            *(projected.data_ptr(), result.data_ptr(), bounds.ctypes.data),
            *(len(bounds) - 1, heads, hidden // heads),
        )
        return result


def kernel_for(size: int) -> Kernel | None:
    """The kernel for heads of `size` numbers; None if there is none."""
    return _verified() if size in _SIZES else None


@cache
def _verified() -> Kernel | None:
    name = _LIBRARIES.get(torch.backends.cpu.get_cpu_capability())
    if name is None:
        _log.info("there is no attention kernel for this CPU: torch's attention is used")
        return None
    library = _DIRECTORY / name
    if not library.exists():
        _log.warning(
            "%s is missing, and torch's attention is used, which takes 7%% longer: install gcc, then reinstall "
            "embedding-runtime",
            library,
        )
        return None
    try:
        kernel = Kernel(library)
    except OSError as error:
        _log.warning("%s cannot be loaded, and torch's attention is used: %s", library, error)
        return None
    off = max(_difference(kernel, size) for size in _SIZES)
    if not off <= _TOLERANCE:  # also for NaN
        _log.warning("%s is off by %.1e, and torch's attention is used", library, off)
        return None
    return kernel


_TOLERANCE = 1e-5

_PROBES = (1, 2, 7, 16, 17, 45, 100)
"""Lengths of texts: with and without a rest after a vector and after a group of queries."""


def _difference(kernel: Kernel, size: int) -> float:
    """The largest difference of the kernel's results from torch's."""
    heads, bounds = 2, np.cumsum([0, *_PROBES], dtype=np.int32)
    generator = torch.Generator().manual_seed(1)
    projected = torch.randn(int(bounds[-1]), 3 * heads * size, generator=generator)
    blocks = [
        Block(Run(int(end) - length, int(end), 1, length)) for length, end in zip(_PROBES, bounds[1:], strict=True)
    ]
    return (kernel(projected, bounds, heads) - by_torch(projected, blocks, heads)).abs().max().item()
