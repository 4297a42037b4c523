"""Progress of a download, as a log line every few seconds, or as a bar."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import monotonic

__all__ = ["Meter", "megabytes", "progress"]


class Meter:
    """Counts the bytes of a download. Thread-safe."""

    def __init__(self, total: int, done: int = 0) -> None:
        """`done`: bytes from an earlier process."""
        self.total, self.resumed = total, done
        self._done, self._began, self._lock = done, monotonic(), threading.Lock()

    def add(self, size: int) -> None:
        """Count bytes; a negative number takes wrong ones back."""
        with self._lock:
            self._done += size

    @property
    def rate(self) -> float:
        """Bytes per second of this process."""
        return (self._done - self.resumed) / max(monotonic() - self._began, 0.001)

    def __str__(self) -> str:
        done, rate = self._done, self.rate
        left = f", {(self.total - done) / rate:.0f} seconds left" if rate > 0 else ""
        share = 100 * done // max(self.total, 1)
        return f"{megabytes(done)} of {megabytes(self.total)} ({share}%), {megabytes(rate)}/s{left}"

    def bar(self, width: int = 30) -> str:
        """A bar, and the numbers."""
        filled = width * self._done // max(self.total, 1)
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
