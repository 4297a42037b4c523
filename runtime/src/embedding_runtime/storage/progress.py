"""How far a download is: a plain line every few seconds, for people who read a pod's log."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["megabytes", "progress", "size_of"]


@contextmanager
def progress(directory: Path, total: int, say: Callable[[str], None], seconds: float = 5) -> Iterator[None]:
    """While the block runs, says every so many seconds how many of `total` bytes lie in `directory`."""
    done = threading.Event()

    def report() -> None:
        while not done.wait(seconds):
            there = size_of(directory)
            say(f"{megabytes(there)} of {megabytes(total)} ({100 * there // max(total, 1)}%)")

    reporter = threading.Thread(target=report, name="progress", daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()


def size_of(directory: Path) -> int:
    """Bytes in the files of a directory that others write to meanwhile."""
    total = 0
    for file in directory.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # moved to its final name since it was listed
            continue
    return total


def megabytes(size: int) -> str:
    """A size in the unit that model hubs show: millions of bytes."""
    return f"{size / 1e6:.1f} MB"
