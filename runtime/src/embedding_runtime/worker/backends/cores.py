"""Two cores, and two batches at once.

With a core each they give a tenth more than one after the other with both: nothing waits at a barrier for the thread
whose core the front, or another container, has just taken. Figures: docs/performance.md.
"""

from collections.abc import Callable
from functools import partial

import torch

__all__ = ["one_of_two"]


def one_of_two() -> Callable[[], None] | None:
    """What gives a thread one core of two; None where there are more or fewer, by OMP_NUM_THREADS or what there is.

    Half of more cores would be a team of threads for each batch, beside the main thread's own, and more OpenMP threads
    than cores wait badly.
    """
    return partial(torch.set_num_threads, 1) if torch.get_num_threads() == 2 else None  # noqa: PLR2004 it is the name
