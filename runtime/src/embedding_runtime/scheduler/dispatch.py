"""Select the worker and the size of the next batch. Pure.

A worker has at most two batches. A `concurrent` worker computes both at once, each on half of its cores, if enough
tokens are queued. Otherwise the second is a prefetch, so that the worker does not wait for the scheduler. Prefetching
pays for short batches only: with long ones, an interactive request would wait for two.
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["MIN_CONCURRENT_TOKENS", "MOST_BATCHES", "BatchPlan", "WorkerLoad", "next_dispatch"]

MOST_BATCHES = 2
"""Batches per worker: computed, or waiting there."""

MIN_CONCURRENT_TOKENS = 256
"""Minimum queued tokens before a second batch is dispatched to a worker: docs/performance.md."""


@dataclass(frozen=True)
class WorkerLoad:
    """A ready worker and its load."""

    concurrent: bool
    batch_tokens: int
    exclusive: Sequence[bool] = ()
    """Whether each running batch is exclusive."""
    tokens: int = 0
    """Tokens of all running batches."""

    @property
    def is_idle(self) -> bool:
        """Whether it has no batch."""
        return not self.exclusive

    @property
    def slots(self) -> int:
        """The number of further batches that it would start immediately."""
        if not self.concurrent:
            return int(self.is_idle)
        return 0 if any(self.exclusive) else 2 - len(self.exclusive)


@dataclass(frozen=True)
class BatchPlan:
    """The next batch: index of its worker, token budget, and whether it is exclusive."""

    worker: int
    tokens: int
    exclusive: bool


def next_dispatch(tokens: int, texts: int, workers: Sequence[WorkerLoad], *, prefetch: bool = True) -> BatchPlan | None:
    """Plan the next batch from a queue of this many tokens and texts. None: do not dispatch now.

    Idle workers are preferred, then the least loaded one. The queue is divided evenly among all free slots.
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
    """A batch to prefetch for the worker that will finish first."""
    takers = [place for place, worker in enumerate(workers) if not worker.concurrent and len(worker.exclusive) == 1]
    if not takers:
        return None
    place = min(takers, key=lambda each: workers[each].tokens)
    return BatchPlan(place, workers[place].batch_tokens, exclusive=True)
