"""Progress of a download, as a log line every few seconds."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["megabytes", "progress", "size_of"]


@contextmanager
def progress(directory: Path, total: int, say: Callable[[str], None], seconds: float = 5) -> Iterator[None]:
    """While the block runs, log every `seconds` how many of `total` bytes are in `directory`."""
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
    """The size of all files in a directory, which may be written concurrently."""
    total = 0
    for file in directory.rglob("*"):
        try:
            total += file.stat().st_size if file.is_file() else 0
        except FileNotFoundError:  # renamed meanwhile
            continue
    return total


def megabytes(size: int) -> str:
    """Format a size in MB (millions of bytes), as model hubs do."""
    return f"{size / 1e6:.1f} MB"
