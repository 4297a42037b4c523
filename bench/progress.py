"""Progress on stderr: one line for each part, with the estimated remaining time."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Progress"]


class Progress:
    """Progress of work with estimated parts, in seconds. The remaining time is corrected by how long the parts took."""

    def __init__(self, expected: float) -> None:
        self._expected = expected
        self._done = 0.0
        self._pace = 1.0
        """Elapsed seconds per expected second."""
        self._label = ""
        self._begin = time.monotonic()

    @contextmanager
    def part(self, label: str, expected: float) -> Iterator[None]:
        """A context for one part; `expected` is its estimate in seconds."""
        self._label = label
        self.say("starting")
        yield
        self._done += expected
        self._pace = (time.monotonic() - self._begin) / self._done

    def say(self, text: str) -> None:
        """Prints a line about the current part."""
        gone = time.monotonic() - self._begin
        left = max(0.0, self._expected * self._pace - gone)
        print(f"{_clock(gone)} (about {_clock(left)} left) {self._label}: {text}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
