"""Which worker gets the next batch, and how much of the queue that is: pure.

A worker has two batches at most. One that computes two at once (`concurrent`) gets one for each half of its cores,
where there are tokens enough. Else the second waits at the worker, which then never waits for the scheduler: that is
worth it where batches are short (`prefetch`), and makes an interactive request wait for two where they are not.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MIN_CONCURRENT_TOKENS", "BatchPlan", "WorkerLoad", "next_dispatch"]

MIN_CONCURRENT_TOKENS = 256
"""Minimum of queued tokens for another batch beside one that is computed. Fewer wait, and newcomers join them.

Measured: docs/performance.md.
"""


@dataclass(frozen=True)
class WorkerLoad:
    """A worker that is ready, and what it has been given."""

    concurrent: bool
    batch_tokens: int
    exclusive: Sequence[bool] = ()
    """Of each batch under way."""
    tokens: int = 0
    """Of all batches under way."""

    @property
    def is_idle(self) -> bool:
        """No batch is under way."""
        return not self.exclusive

    @property
    def slots(self) -> int:
        """How many more batches it would begin with at once."""
        if not self.concurrent:
            return int(self.is_idle)
        return 0 if any(self.exclusive) else 2 - len(self.exclusive)


@dataclass(frozen=True)
class BatchPlan:
    """The next batch: its worker, by place; its budget of tokens; and whether it has the worker for itself."""

    worker: int
    tokens: int
    exclusive: bool


def next_dispatch(tokens: int, texts: int, workers: Sequence[WorkerLoad], *, prefetch: bool = True) -> BatchPlan | None:
    """The next batch from a queue of so many tokens and texts. None: no batch for now.

    Idle workers come first, then the least busy one. The queue is dealt out evenly over all that would begin at once.
    """
    if not texts or not workers:
        return None
    slots = sum(worker.slots for worker in workers)
    place = min(range(len(workers)), key=lambda each: (-workers[each].slots, workers[each].tokens))
    worker = workers[place]
    if worker.is_idle and not (worker.concurrent and texts > 1 and tokens // slots >= MIN_CONCURRENT_TOKENS):
        idle = sum(worker.is_idle for worker in workers)
        even = worker.batch_tokens if idle == 1 else max(MIN_CONCURRENT_TOKENS, -(-tokens // idle))
        return BatchPlan(place, min(worker.batch_tokens, even), exclusive=True)
    if worker.slots and (worker.is_idle or tokens >= MIN_CONCURRENT_TOKENS):
        return BatchPlan(place, min(worker.batch_tokens, -(-tokens // slots)), exclusive=False)
    return None if worker.slots or tokens < MIN_CONCURRENT_TOKENS or not prefetch else _prefetched(workers)


def _prefetched(workers: Sequence[WorkerLoad]) -> BatchPlan | None:
    """The batch that waits at the worker that is done first."""
    takers = [place for place, worker in enumerate(workers) if not worker.concurrent and len(worker.exclusive) == 1]
    if not takers:
        return None
    place = min(takers, key=lambda each: workers[each].tokens)
    return BatchPlan(place, workers[place].batch_tokens, exclusive=True)
