"""The parts of requests that a batch consists of."""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Owner", "Part", "bisect"]

Owner = TypeVar("Owner", bound=Hashable)


@dataclass(frozen=True)
class Part(Generic[Owner]):
    """The texts `start` to `stop` (exclusive) of one request."""

    owner: Owner
    start: int
    stop: int

    @property
    def texts(self) -> int:
        """The number of texts."""
        return self.stop - self.start


def bisect(batch: Sequence[Part[Owner]]) -> tuple[list[Part[Owner]], list[Part[Owner]]]:
    """Split a batch of two or more texts in the middle, if necessary within a request."""
    middle = sum(part.texts for part in batch) // 2
    first: list[Part[Owner]] = []
    second: list[Part[Owner]] = []
    for part in batch:
        cut = min(part.start + middle, part.stop)
        middle -= cut - part.start
        if part.start < cut:
            first.append(Part(part.owner, part.start, cut))
        if cut < part.stop:
            second.append(Part(part.owner, cut, part.stop))
    return first, second
