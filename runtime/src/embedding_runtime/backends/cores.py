"""Two cores, and two batches at once.

With a core each they give a tenth more than one after the other with both: nothing waits at a barrier for the thread
whose core the front, or another container, has just taken. A batch alone has both cores. Figures: docs/performance.md.
"""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import torch

__all__ = ["Cores"]


class Cores:
    """As many as torch has threads, which follows OMP_NUM_THREADS."""

    def __init__(self) -> None:
        self._all = torch.get_num_threads()
        # A lane of several threads would have a team of its own, and more OpenMP threads than cores wait badly.
        self.lanes = 2 if self._all in (2, 3) else 1
        """How many batches have a share at once."""
        self._busy = 0
        self._lock = threading.Lock()
        self._given = threading.local()

    @contextmanager
    def share(self) -> Iterator[None]:
        """For one batch: all cores where the main thread computes it and no other is computed, else one."""
        with self._lock:
            self._busy += 1
            alone = self._busy == 1 and threading.current_thread() is threading.main_thread()
        if self.lanes > 1:
            self._give(self._all if alone else 1)
        try:
            yield
        finally:
            with self._lock:
                self._busy -= 1

    def _give(self, threads: int) -> None:
        """To this thread's operators: OpenMP keeps the number by thread. Torch forgets oneDNN's plans at every call."""
        if getattr(self._given, "threads", None) != threads:
            torch.set_num_threads(threads)
            self._given.threads = threads
