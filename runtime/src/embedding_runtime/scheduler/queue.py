"""Which waiting texts form the next batch: pure, and the whole policy.

Texts of all requests stand in one line, in order of arrival. A batch is the head of that line, up to a budget of
tokens: a long request is split over batches, short ones share one, and nobody is overtaken.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

__all__ = ["Line", "Part", "Share", "bisected", "next_share"]

WORTH_TOKENS = 256
"""As many are worth a batch beside another one. With fewer, whoever comes while that is computed goes with them.

Measured: docs/performance.md.
"""

Owner = TypeVar("Owner", bound=Hashable)


@dataclass(frozen=True)
class Part(Generic[Owner]):
    """The texts `start` to `stop` (exclusive) of one request."""

    owner: Owner
    start: int
    stop: int


def bisected(batch: Sequence[Part[Owner]]) -> tuple[list[Part[Owner]], list[Part[Owner]]]:
    """A batch of two texts or more, cut in the middle; within a request where the middle is there."""
    middle = sum(part.stop - part.start for part in batch) // 2
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


@dataclass(frozen=True)
class Share:
    """What the next batch gets: its budget of tokens, and the whole machine or half of it."""

    tokens: int
    whole: bool


def next_share(line: "Line[Owner]", under_way: Sequence[bool], *, halves: bool, batch_tokens: int) -> Share | None:
    """For who stands in line, beside batches that are under way, each `whole` or not. None: not yet.

    There are two at most. Where the worker computes two at once (`halves`), few tokens, or one text, go as one batch,
    which has the machine for itself, and more are dealt out. Else the second waits at the worker, which then never
    waits for us.
    """
    whole = Share(batch_tokens, whole=True)
    if not under_way:
        if not halves or line.tokens < 2 * WORTH_TOKENS or line.texts == 1:
            return whole
    elif len(under_way) > 1 or line.tokens < WORTH_TOKENS:
        return None
    elif not halves:
        return whole
    elif any(under_way):
        return None
    free = 2 - len(under_way)
    return Share(min(batch_tokens, -(-line.tokens // free)), whole=False)


class Line(Generic[Owner]):
    """Texts that wait. Knows their lengths and whose they are, not the texts."""

    def __init__(self) -> None:
        self._requests: dict[Owner, tuple[Sequence[int], int]] = {}  # lengths, how many have left; in arrival order
        self._tokens = self._texts = 0

    @property
    def tokens(self) -> int:
        """How many tokens wait."""
        return self._tokens

    @property
    def texts(self) -> int:
        """How many texts wait."""
        return self._texts

    def join(self, owner: Owner, lengths: Sequence[int]) -> None:
        """Puts a request's texts, one or more, of these lengths in tokens, at the end. An owner joins once."""
        self._requests[owner] = (lengths, 0)
        self._tokens += sum(lengths)
        self._texts += len(lengths)

    def leave(self, owner: Owner) -> None:
        """Takes out what still waits of a request; nothing when nothing does."""
        lengths, left = self._requests.pop(owner, ((), 0))
        self._tokens -= sum(lengths[left:])
        self._texts -= len(lengths) - left

    def next_batch(self, budget: int) -> list[Part[Owner]]:
        """Takes texts from the head while they fit into `budget` tokens, and one in any case. Empty: nobody waits."""
        batch: list[Part[Owner]] = []
        room = budget
        while self._requests:
            owner, (lengths, start) = next(iter(self._requests.items()))
            stop = start
            while stop < len(lengths) and (lengths[stop] <= room or not (batch or stop > start)):
                room -= lengths[stop]
                stop += 1
            if stop == start:
                break
            batch.append(Part(owner, start, stop))
            self._tokens -= sum(lengths[start:stop])
            self._texts -= stop - start
            if stop < len(lengths):
                self._requests[owner] = (lengths, stop)  # keeps its place: dicts order by first insertion
                break
            del self._requests[owner]
        return batch
