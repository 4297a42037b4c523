"""The request queue: selects the texts of the next batch. Pure.

Each lane is fair by principal (`lane_queue`). Interactive texts are dispatched before bulk texts, which get at least a
tenth of the tokens. A batch takes texts up to a token budget: a long request is split into several batches, and short
requests share one.
"""

from collections import deque
from collections.abc import Hashable, Mapping, Sequence
from itertools import islice
from typing import Generic

from embedding_runtime.protocol.requests import Lane
from embedding_runtime.scheduler.lane_queue import QUANTUM, LaneQueue, QueuedRequest
from embedding_runtime.scheduler.parts import Owner, Part, bisect

__all__ = ["RequestQueue"]

INTERACTIVE_PER_BULK = 9
"""Interactive tokens per bulk token while both lanes have texts."""


class RequestQueue(Generic[Owner]):
    """Queued texts, by length, principal and lane. It does not hold the texts themselves."""

    def __init__(self) -> None:
        self._requests: dict[Owner, QueuedRequest[Owner]] = {}
        self._interactive, self._bulk = LaneQueue[Owner](), LaneQueue[Owner]()
        self._lanes: Mapping[Lane, LaneQueue[Owner]] = {Lane.INTERACTIVE: self._interactive, Lane.BULK: self._bulk}
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
        self._requests[owner] = request = QueuedRequest(owner, lengths, principal, lane, group)
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
