"""The request queue: selects the texts of the next batch. Pure.

Each lane is fair by principal: deficit round robin over tokens, and first come, first served within a principal.
Interactive texts are dispatched before bulk texts, which get at least a tenth of the tokens. A batch takes texts up to
a token budget: a long request is split into several batches, and short requests share one.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from embedding_runtime.protocol.requests import Lane

__all__ = ["Part", "RequestQueue", "bisect"]

QUANTUM = 512
"""Tokens that a principal gets per turn."""

INTERACTIVE_PER_BULK = 9
"""Interactive tokens per bulk token while both lanes have texts."""

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


@dataclass(eq=False)
class _Request(Generic[Owner]):
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
        self.requests: dict[Owner, _Request[Owner]] = {}
        self.credit = QUANTUM
        """Tokens that it may still dispatch in this turn."""
        self.tokens = 0


class _LaneQueue(Generic[Owner]):
    """One lane: principals with queued texts, in the order of their turns."""

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

    def add(self, request: _Request[Owner]) -> None:
        turns = self._turns.setdefault(request.principal, _Turns())
        turns.requests[request.owner] = request
        self._count(turns, sum(request.lengths), len(request.lengths))

    def remove(self, request: _Request[Owner]) -> None:
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

    def _next(self) -> _Request[Owner]:
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


class RequestQueue(Generic[Owner]):
    """Queued texts, by length, principal and lane. It does not hold the texts themselves."""

    def __init__(self) -> None:
        self._requests: dict[Owner, _Request[Owner]] = {}
        self._interactive, self._bulk = _LaneQueue[Owner](), _LaneQueue[Owner]()
        self._lanes: Mapping[Lane, _LaneQueue[Owner]] = {Lane.INTERACTIVE: self._interactive, Lane.BULK: self._bulk}
        self._retries: deque[list[Part[Owner]]] = deque()
        """Halves of failed batches, which are dispatched first, unchanged."""
        self._bulk_due = 0.0
        """Tokens that the bulk lane may dispatch before interactive texts."""

    @property
    def tokens(self) -> int:
        """The number of queued tokens."""
        return self._interactive.tokens + self._bulk.tokens + self._tokens_retried()

    @property
    def texts(self) -> int:
        """The number of queued texts."""
        retried = sum(part.texts for parts in self._retries for part in parts)
        return self._interactive.texts + self._bulk.texts + retried

    def tokens_in(self, lane: Lane) -> int:
        """The number of queued tokens of a lane."""
        return self._lanes[lane].tokens + sum(map(self._tokens_of, self._retried(lane)))

    def texts_in(self, lane: Lane) -> int:
        """The number of queued texts of a lane."""
        return self._lanes[lane].texts + sum(part.texts for part in self._retried(lane))

    def tokens_of(self, principal: Hashable) -> int:
        """The number of queued tokens of a principal, without retries."""
        return self._interactive.tokens_of(principal) + self._bulk.tokens_of(principal)

    def tokens_ahead(self, principal: Hashable, lane: Lane, tokens: int) -> int:
        """Upper bound of the tokens that are dispatched before a new request is complete."""
        is_interactive = lane is Lane.INTERACTIVE
        queue, other = (self._interactive, self._bulk) if is_interactive else (self._bulk, self._interactive)
        own = queue.tokens_of(principal)
        others = queue.principals - (own > 0)
        fair = own + min(queue.tokens - own, others * (own + tokens + QUANTUM))
        if is_interactive:
            before = min(other.tokens, (fair + tokens) // INTERACTIVE_PER_BULK + QUANTUM)
        else:
            before = min(other.tokens, (fair + tokens) * INTERACTIVE_PER_BULK)
        return fair + before + self._tokens_retried()

    def enqueue(
        self, owner: Owner, lengths: Sequence[int], principal: Hashable, lane: Lane, *, group: Hashable = None
    ) -> None:
        """Enqueue a request with one or more texts, by their lengths in tokens. An owner may be enqueued only once.

        A batch has texts of one `group` only.
        """
        self._requests[owner] = request = _Request(owner, lengths, principal, lane, group)
        self._lanes[lane].add(request)

    def remove(self, owner: Owner) -> None:
        """Remove a request and dequeue its texts."""
        request = self._requests.get(owner)
        if request is None:
            return
        self._lanes[request.lane].remove(request)
        kept = [[part for part in parts if part.owner != owner] for parts in self._retries]
        self._retries = deque(parts for parts in kept if parts)
        del self._requests[owner]

    def retry(self, parts: Sequence[Part[Owner]]) -> None:
        """Requeue a failed batch of two or more texts as two halves, which are the next batches."""
        known = [part for part in parts if part.owner in self._requests]
        for half in reversed(bisect(known) if sum(part.texts for part in known) > 1 else (known,)):
            if half:
                self._retries.appendleft(half)

    def next_batch(self, budget: int, *, mixed: int | None = None) -> list[Part[Owner]]:
        """Dequeue the next batch: at least one text, and more up to `budget` tokens. Empty if the queue is empty.

        `mixed`: a batch with interactive texts is filled with bulk texts up to this many tokens only.
        """
        if self._retries:
            return self._retries.popleft()
        batch: list[Part[Owner]] = []
        room = budget
        has_interactive = False
        group: Hashable = None
        while (lane := self._next_lane()) is not None:
            queue = self._lanes[lane]
            if mixed is not None and has_interactive and not self._interactive.texts:
                room, mixed = room - max(0, budget - mixed), None
            has_interactive = has_interactive or lane is Lane.INTERACTIVE
            if batch and (queue.next_length() > room or queue.next_group() != group):
                break
            group = queue.next_group()
            part, tokens = queue.take(min(room, self._allowance(lane)))
            room -= tokens
            self._settle(lane, tokens)
            if batch and (last := batch[-1]).owner == part.owner:  # they continue the last part
                batch[-1] = Part(part.owner, last.start, part.stop)
            else:
                batch.append(part)
        return batch

    def _next_lane(self) -> Lane | None:
        if not self._bulk.texts:
            return Lane.INTERACTIVE if self._interactive.texts else None
        if not self._interactive.texts or self._bulk_due >= self._bulk.next_length():
            return Lane.BULK
        return Lane.INTERACTIVE

    def _allowance(self, lane: Lane) -> int:
        """Tokens that the lane may dispatch before the other lane's turn; unlimited if the other lane is empty."""
        if not (self._bulk.texts and self._interactive.texts):
            return 1 << 62
        if lane is Lane.BULK:
            return int(self._bulk_due)
        return max(1, int((self._bulk.next_length() - self._bulk_due) * INTERACTIVE_PER_BULK))

    def _settle(self, lane: Lane, tokens: int) -> None:
        if lane is Lane.BULK:
            self._bulk_due = max(0.0, self._bulk_due - tokens)
        elif self._bulk.texts:
            self._bulk_due += tokens / INTERACTIVE_PER_BULK
        else:
            self._bulk_due = 0.0

    def _tokens_of(self, part: Part[Owner]) -> int:
        return sum(islice(self._requests[part.owner].lengths, part.start, part.stop))

    def _tokens_retried(self) -> int:
        return sum(self._tokens_of(part) for parts in self._retries for part in parts)

    def _retried(self, lane: Lane) -> list[Part[Owner]]:
        return [part for parts in self._retries for part in parts if self._requests[part.owner].lane is lane]
