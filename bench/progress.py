"""What is running and how long is left, a line each, on stderr."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["Progress"]


class Progress:
    """Of work whose parts are known beforehand, in seconds, about; what is left is judged by how the parts went."""

    def __init__(self, expected: float) -> None:
        self._expected = expected
        self._done = 0.0
        self._pace = 1.0
        """Seconds gone for each that was expected."""
        self._label = ""
        self._begin = time.monotonic()

    @contextmanager
    def part(self, label: str, expected: float) -> Iterator[None]:
        """As a context, while it lasts; `expected` is what the whole counts it as."""
        self._label = label
        self.say("starting")
        yield
        self._done += expected
        self._pace = (time.monotonic() - self._begin) / self._done

    def say(self, words: str) -> None:
        """A line, about the part under way."""
        gone = time.monotonic() - self._begin
        left = max(0.0, self._expected * self._pace - gone)
        print(f"{_clock(gone)} (about {_clock(left)} left) {self._label}: {words}", file=sys.stderr, flush=True)


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60:02d}:{int(seconds) % 60:02d}"
