"""Two concurrent batches on two cores.

On one core each they are 10% faster than one after the other on both cores: no thread waits at a barrier for one whose
core a frontend or another container is using. See docs/performance.md.
"""

from collections.abc import Callable
from functools import partial

import torch

__all__ = ["one_of_two"]


def one_of_two() -> Callable[[], None] | None:
    """Return a function that limits a thread to one of two cores; None unless there are two (OMP_NUM_THREADS).

    With more cores, each batch would need its own team of threads in addition to that of the main thread, and OpenMP is
    slow with more threads than cores.
    """
    return partial(torch.set_num_threads, 1) if torch.get_num_threads() == 2 else None  # noqa: PLR2004 see the name
