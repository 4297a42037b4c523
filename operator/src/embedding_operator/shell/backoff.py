"""Exponential backoff: how long a failed key waits for its next attempt."""

from dataclasses import dataclass

__all__ = ["Backoff"]

_DOUBLINGS = 30  # beyond any cap; keeps 2**n a small number however long something fails


@dataclass(frozen=True)
class Backoff:
    """How long a failing key waits, in seconds: doubling from `first` to `most`, less up to half by chance."""

    first: float = 1.0
    most: float = 300.0

    def seconds(self, failures: int, chance: float) -> float:
        """After that many failures in a row; `chance` in [0, 1) spreads keys that failed together."""
        full: float = min(self.most, self.first * 2 ** min(failures - 1, _DOUBLINGS))
        return full * (1 - chance / 2)
