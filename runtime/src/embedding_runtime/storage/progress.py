"""Progress of a download, as a log line every few seconds, or as a bar."""

import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["Meter", "megabytes", "progress"]


_WINDOW = 5.0
"""Seconds that a rate is of."""


class Meter:
    """Counts the bytes of a download. Thread-safe."""

    def __init__(self, total: int, done: int = 0, clock: Callable[[], float] = monotonic) -> None:
        """`done`: bytes from an earlier process."""
        self.total, self._done = total, done
        self._clock, self._lock = clock, threading.Lock()
        self._samples = deque([(clock(), done)])
        """Times and bytes: the last one before the window, and those in it."""

    def add(self, size: int) -> None:
        """Count bytes; a negative number takes wrong ones back."""
        with self._lock:
            self._done += size
            now = self._clock()
            if now - self._samples[-1][0] >= _WINDOW / 10:
                self._samples.append((now, self._done))

    @property
    def done(self) -> int:
        """Bytes, including those of an earlier process."""
        return self._done

    @property
    def rate(self) -> float:
        """Bytes per second, lately."""
        with self._lock:
            now = self._clock()
            while len(self._samples) > 1 and self._samples[1][0] <= now - _WINDOW:
                self._samples.popleft()
            began, done = self._samples[0]
            return max(self._done - done, 0) / max(now - began, 0.001)

    def __str__(self) -> str:
        done, rate = self.done, self.rate
        left = f", {(self.total - done) / rate:.0f} seconds left" if rate > 0 else ""
        share = 100 * done // max(self.total, 1)
        return f"{megabytes(done)} of {megabytes(self.total)} ({share}%), {megabytes(rate)}/s{left}"

    def bar(self, width: int = 30) -> str:
        """A bar, and the numbers."""
        filled = width * self.done // max(self.total, 1)
        return f"{'━' * filled}{'─' * (width - filled)} {self}"


@contextmanager
def progress(show: Callable[[], None], seconds: float = 5) -> Iterator[None]:
    """While the block runs, call `show` every few seconds."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(seconds):
            show()

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def megabytes(size: float) -> str:
    """Format a size in MB (millions of bytes), as model hubs do."""
    return f"{size / 1e6:.1f} MB"
