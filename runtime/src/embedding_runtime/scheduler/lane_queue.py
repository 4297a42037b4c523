"""One lane of the queue, fair by principal: deficit round robin over tokens, and first come, first served within a
principal. Pure.
"""

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Generic

from embedding_runtime.protocol.requests import Lane
from embedding_runtime.scheduler.parts import Owner, Part

__all__ = ["QUANTUM", "LaneQueue", "QueuedRequest"]

QUANTUM = 512
"""Tokens that a principal gets per turn."""


@dataclass(eq=False)
class QueuedRequest(Generic[Owner]):
    """A request with texts that have not been dispatched."""

    owner: Owner
    lengths: Sequence[int]
    principal: Hashable
    lane: Lane
    group: Hashable = None
    start: int = 0
    """Index of the first text that has not been dispatched."""


class _Turns(Generic[Owner]):
    """The requests of one principal in one lane, in order of arrival."""

    def __init__(self) -> None:
        self.requests: dict[Owner, QueuedRequest[Owner]] = {}
        self.credit = QUANTUM
        """Tokens that it may still dispatch in this turn."""
        self.tokens = 0


class LaneQueue(Generic[Owner]):
    """Principals with queued texts, in the order of their turns."""

    def __init__(self) -> None:
        self.tokens = self.texts = 0
        self._turns: dict[Hashable, _Turns[Owner]] = {}

    @property
    def principals(self) -> int:
        """The number of principals with queued texts."""
        return len(self._turns)

    def tokens_of(self, principal: Hashable) -> int:
        """The number of queued tokens of a principal."""
        return self._turns[principal].tokens if principal in self._turns else 0

    def add(self, request: QueuedRequest[Owner]) -> None:
        """Enqueue a request."""
        turns = self._turns.setdefault(request.principal, _Turns())
        turns.requests[request.owner] = request
        self._count(turns, sum(request.lengths), len(request.lengths))

    def remove(self, request: QueuedRequest[Owner]) -> None:
        """Dequeue the rest of a request, if there is one."""
        turns = self._turns.get(request.principal)
        if turns is not None and request.owner in turns.requests:
            del turns.requests[request.owner]
            self._count(turns, -sum(request.lengths[request.start :]), request.start - len(request.lengths))
            self._drop_if_empty(request.principal, turns)

    def next_length(self) -> int:
        """Tokens of the next text. The lane must not be empty."""
        request = self._next()
        return request.lengths[request.start]

    def next_group(self) -> Hashable:
        """Group of the next text. The lane must not be empty."""
        return self._next().group

    def take(self, tokens: int) -> tuple[Part[Owner], int]:
        """Dequeue texts of the next request: at least one, and more up to `tokens` and the credit of its principal.

        Returns them with their number of tokens.
        """
        request = self._next()
        turns = self._turns[request.principal]
        start, lengths = request.start, request.lengths
        room, stop, taken = min(tokens, turns.credit), start, 0
        while stop < len(lengths) and (taken + lengths[stop] <= room or stop == start):
            taken += lengths[stop]
            stop += 1
        turns.credit -= taken
        request.start = stop
        self._count(turns, -taken, start - stop)
        if stop == len(lengths):
            del turns.requests[request.owner]
            self._drop_if_empty(request.principal, turns)
        return Part(request.owner, start, stop), taken

    def _next(self) -> QueuedRequest[Owner]:
        """The next request. A principal without enough credit for its next text gets more and yields its turn."""
        while True:
            principal, turns = next(iter(self._turns.items()))
            request = next(iter(turns.requests.values()))
            if request.lengths[request.start] <= turns.credit:
                return request
            turns.credit += QUANTUM
            self._turns[principal] = self._turns.pop(principal)  # to the end

    def _count(self, turns: _Turns[Owner], tokens: int, texts: int) -> None:
        turns.tokens += tokens
        self.tokens += tokens
        self.texts += texts

    def _drop_if_empty(self, principal: Hashable, turns: _Turns[Owner]) -> None:
        if not turns.requests:
            del self._turns[principal]  # with its credit: an idle principal does not accumulate any
