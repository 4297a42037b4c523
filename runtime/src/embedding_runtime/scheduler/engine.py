"""Request queue, dispatch to the workers, and health state."""

import asyncio
import collections
import itertools
import logging
import math
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol

import numpy as np
from prometheus_client import Metric

from embedding_runtime.errors import (
    BackendFailed,
    NotReady,
    Overloaded,
    RuntimeFault,
    TextFailed,
    VectorNotFinite,
)
from embedding_runtime.observability import tracing
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import Broken, Failed, Message, Ready, VectorRows, Vectors
from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.admission import Rate, batch_timeout, retry_after
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.dispatch import MIN_CONCURRENT_TOKENS, BatchPlan, next_dispatch
from embedding_runtime.scheduler.queue import Part, RequestQueue
from embedding_runtime.scheduler.rate_limit import Budgets
from embedding_runtime.scheduler.worker_link import Batch, WorkerLink

__all__ = ["Engine", "Job", "State", "Workers"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the workers are checked for batches that take too long."""

SHORT_BATCH_SECONDS = 0.05
"""Batches that take longer do not wait at a worker behind another one: a text that arrives then has to wait for both.

The worker waits a millisecond for its next batch instead.
"""

MAX_RESTARTS = 3
"""Workers that are restarted within RESTART_SECONDS; one more that is lost ends the server."""

RESTART_SECONDS = 600


class Workers(Protocol):
    """The workers' processes."""

    @property
    def count(self) -> int:
        """How many there are; they are numbered from 0."""
        ...

    def start(self, number: int) -> socket.socket:
        """Start a worker. Our end of the socket to it."""
        ...

    async def ended(self, number: int) -> str:
        """Wait until the worker's process is gone. How it ended."""
        ...


@dataclass(eq=False)
class Job:
    """One request: its texts, the rows that have come back so far, and the future of all of them."""

    texts: TokenBatch
    lane: Lane
    done: asyncio.Future[VectorRows]
    missing: int
    rows: dict[int, VectorRows] = field(default_factory=dict)
    """By the place of their first text; halves of a batch that failed come back after later batches."""
    joined: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Seconds in the queue until its first batch; None while it has none."""
    lost_workers: int = 0
    """That had a batch with texts of it."""

    def take(self, start: int, rows: VectorRows) -> None:
        """Rows for the texts from `start` on. Raises VectorNotFinite."""
        if not np.isfinite(rows).all():
            wrong = ~np.isfinite(rows).all(axis=1)
            raise VectorNotFinite(index=start + int(wrong.argmax()))
        self.missing -= len(rows)
        if not self.missing and not self.rows:
            self.done.set_result(rows)
            return
        self.rows[start] = rows
        if not self.missing:
            self.done.set_result(np.concatenate([self.rows[place] for place in sorted(self.rows)]))


class Engine:
    """Vectors for token ids, from one worker or several. Lives on one event loop."""

    def __init__(self, *, max_waiting_tokens: int, stuck_after: float) -> None:
        """Both limits as in ServeArgs."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        """The state in words; for READY, how vectors are computed."""
        self.cosine: float | None = None
        """As in Ready."""
        self._max_waiting_tokens, self._stuck_after = max_waiting_tokens, stuck_after
        self._workers: dict[int, WorkerLink[Job]] = {}
        self._loading: set[int] = set()
        """Workers that have not been ready yet."""
        self._restarts: collections.deque[float] = collections.deque(maxlen=MAX_RESTARTS)
        self._queue: RequestQueue[Job] = RequestQueue()
        self._jobs: set[Job] = set()
        self._numbers = itertools.count()
        self._rate = Rate()
        self._budgets = Budgets()
        self.metrics = Metrics()
        self.metrics.queue(
            tokens=self._queue.tokens_in,
            texts=self._queue.texts_in,
            tokens_in_flight=lambda: self._queue.tokens + self.tokens_under_way,
        )
        self.metrics.workers(ready=lambda: self.workers_ready)
        self.followers: list[Callable[[], None]] = []
        """Called after each change of the state."""

    @property
    def tokens_under_way(self) -> int:
        """Tokens in batches that workers have been given and not answered."""
        return sum(worker.tokens for worker in self._workers.values())

    async def run(self, workers: Workers) -> str | None:
        """Start the workers, dispatch to them, replace those that are lost. Returns when the state is FAILED.

        Then requests that wait get BackendFailed, and so do later ones. Returns why.
        """
        self._loading = set(range(workers.count))
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._unwatched)
        try:
            await asyncio.gather(*(self._keep(number, workers) for number in range(workers.count)))
        finally:
            self.fail("no worker is left")
            watching.cancel()
        return self.reason

    @property
    def _has_failed(self) -> bool:
        return self.state is State.FAILED

    async def _keep(self, number: int, workers: Workers) -> None:
        """Have a worker of this number, until the server ends."""
        while not self._has_failed:
            worker: WorkerLink[Job] = WorkerLink(number)
            self._workers[number] = worker
            await worker.connect(workers.start(number), partial(self._handle, worker))
            known = await worker.closed
            del self._workers[number]
            reason = known or await workers.ended(number)
            if self._has_failed:
                break
            if not self._replaces(number, reason):
                self.fail(reason)
                break
            self._requeue(worker)
            await workers.ended(number)

    def _replaces(self, number: int, reason: str) -> bool:
        """Whether the server goes on without a worker that was lost, until another one takes its place."""
        now = time.monotonic()
        too_many = len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < RESTART_SECONDS
        if self._loading or not self._ready or too_many:
            return False
        self._restarts.append(now)
        self.metrics.worker_restarted()
        _log.error("worker %d is lost, and started again; %d are left: %s", number, len(self._ready), reason)
        return True

    def _handle(self, worker: WorkerLink[Job], message: Message) -> None:
        match message:
            case Vectors():
                self._deliver(self._complete(worker, message), message.rows)
                self._dispatch()
            case Failed():
                self._retry(self._complete(worker, message).parts)
                self._dispatch()
            case Ready():
                self._begin(worker, message)
            case Broken(reason):
                worker.close(reason)

    @property
    def workers_ready(self) -> int:
        """How many workers compute."""
        return len(self._ready)

    @property
    def _ready(self) -> list[WorkerLink[Job]]:
        return [worker for worker in self._workers.values() if worker.ready is not None and not worker.closed.done()]

    def _changed(self) -> None:
        """Tell those who follow the state."""
        for follower in self.followers:
            follower()

    def stop(self) -> None:
        """Readiness off; what is under way and what still comes is answered."""
        if self.state is State.LOADING:
            self.fail("the server is stopping")
        elif self.state is State.READY:
            self.state, self.reason = State.STOPPING, "the server is stopping"
            self._changed()

    def fail(self, reason: str) -> None:
        """Every request that waits, and every later one, gets BackendFailed with this reason. The first one stays."""
        if self.state is State.FAILED:
            return
        self.state, self.reason = State.FAILED, reason
        for job in self._jobs:
            if not job.done.done():
                job.done.set_exception(BackendFailed(reason))
        for worker in self._workers.values():
            worker.close(reason)
        self._changed()

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """What is left of a principal's tokens of this minute; None where it has no limit."""
        return self._budgets.state(principal, time.monotonic())

    async def collect(self) -> Sequence[Metric]:
        """As Scheduler has it: this process is the whole server but for its workers."""
        return self.metrics.families()

    async def embed(
        self, texts: TokenBatch, principal: Principal, *, lane: Lane | None = None, seconds: float = math.inf
    ) -> VectorRows:
        """As `submit`, until the rows are there. A caller that is cancelled leaves the queue."""
        job = self.submit(texts, principal, lane=lane, seconds=seconds)
        try:
            rows = await job.done
            tracing.annotate({"embedding.queue_seconds": job.queued or 0.0})
            return rows
        finally:
            self.withdraw(job)

    def submit(
        self, texts: TokenBatch, principal: Principal, *, lane: Lane | None = None, seconds: float = math.inf
    ) -> Job:
        """A job whose future gets one row a text, in order; there is at least one text. `withdraw` has to be called.

        Without a `lane`, a request of few texts is interactive. A request that would take longer than its `seconds`
        is refused, unless nothing else waits.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit; the future: BackendFailed, TextFailed,
        VectorNotFinite.
        """
        lane = lane or Lane.by_size(len(texts))
        self._check_queue(texts.tokens, principal, lane, seconds)
        self._budgets.spend(principal, texts.tokens, time.monotonic())
        job = Job(texts, lane, asyncio.get_running_loop().create_future(), missing=len(texts))
        self._jobs.add(job)
        self._queue.enqueue(job, texts.lengths.tolist(), principal.name, lane)
        self._dispatch()
        return job

    def withdraw(self, job: Job) -> None:
        """The job is done, or its client is gone: what still waits of it leaves the queue."""
        self._jobs.discard(job)
        self._queue.remove(job)
        if not job.done.done():
            job.done.cancel()

    async def check_admission(
        self, texts: int, tokens: int, principal: Principal, *, lane: Lane | None, seconds: float
    ) -> None:
        """Refuse what `embed` would refuse if it came now with so many texts and tokens, or more. Takes nothing.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit.
        """
        self._check_queue(tokens, principal, lane or Lane.by_size(texts), seconds)
        await self.check_budget(principal, tokens)

    async def check_budget(self, principal: Principal, tokens: int) -> None:
        """Whether so many tokens, or more, could be taken from its budget. Raises RateLimited, ExceedsKeyLimit."""
        self._budgets.check(principal, tokens, time.monotonic(), at_least=True)

    async def charge(self, principal: Principal, tokens: int) -> None:
        """Take tokens that are not computed from the principal's budget. Raises RateLimited, ExceedsKeyLimit."""
        self._budgets.spend(principal, tokens, time.monotonic())

    def _check_queue(self, tokens: int, principal: Principal, lane: Lane, seconds: float) -> None:
        if self.state is State.LOADING:
            raise NotReady(self.reason)
        if self.state is State.FAILED:
            raise BackendFailed(self.reason)
        computing = self.tokens_under_way
        ahead = computing + self._queue.tokens_ahead(principal.name, lane, tokens)
        limit = self._max_waiting_tokens
        if self._queue.tokens_of(principal.name):
            limit -= limit // _RESERVED  # for principals that have nothing queued
            if lane is Lane.BULK:
                limit -= limit // _RESERVED  # for interactive requests
        after = retry_after(
            self._queue.tokens + computing, ahead, tokens, limit=limit, seconds=seconds, rate=self._rate_of_all
        )
        if after is not None:
            raise Overloaded(
                f"Server overloaded: {ahead} tokens are queued ahead of the {tokens} of this request", retry_after=after
            )

    def _begin(self, worker: WorkerLink[Job], ready: Ready) -> None:
        worker.ready = ready
        self._loading.discard(worker.number)
        if self.state is not State.LOADING:
            _log.info("worker %d is ready again", worker.number)
            self._dispatch()
        elif not self._loading:
            number = len(self._workers)
            self.state, self.cosine = State.READY, ready.cosine
            self.reason = ready.detail if number == 1 else f"{number} workers: {ready.detail}"
            self._rate.full = ready.batch_tokens
            if ready.tokens_per_second is not None:
                self._rate.calibrate(ready.tokens_per_second)
                _log.info("ready: %s; %.0f tokens/s a worker at warm-up", self.reason, ready.tokens_per_second)
            else:
                _log.info("ready: %s", self.reason)
            self._changed()

    @property
    def _rate_of_all(self) -> float | None:
        """Tokens a second of all workers that are ready; None before the first batch."""
        rate = self._rate.per_second
        return None if rate is None else rate * max(1, len(self._ready))

    def _dispatch(self) -> None:
        while (ready := self._ready) and (plan := self._plan(ready)) and (parts := self._next(plan)):
            texts = TokenBatch.joined([part.owner.texts.part(part.start, part.stop) for part in parts])
            batch = Batch(parts, texts.tokens, plan.exclusive, time.monotonic())
            ready[plan.worker].give(next(self._numbers), batch, texts)
            for job in (part.owner for part in parts if part.owner.queued is None):
                job.queued = batch.sent - job.joined
                self.metrics.queued(job.lane, job.queued)

    def _next(self, plan: BatchPlan) -> Sequence[Part[Job]]:
        """Where batches take long, those with interactive texts are smaller by a quarter: they are waited for."""
        mixed = None if self._has_short_batches else max(MIN_CONCURRENT_TOKENS, plan.tokens * 3 // 4)
        return self._queue.next_batch(plan.tokens, mixed=mixed)

    @property
    def _has_short_batches(self) -> bool:
        rate = self._rate.per_second
        return rate is None or self._rate.full < SHORT_BATCH_SECONDS * rate

    def _plan(self, workers: Sequence[WorkerLink[Job]]) -> BatchPlan | None:
        return next_dispatch(
            self._queue.tokens,
            self._queue.texts,
            [worker.load for worker in workers],
            prefetch=self._has_short_batches,
        )

    def _complete(self, worker: WorkerLink[Job], answer: Vectors | Failed) -> Batch[Job]:
        if isinstance(answer, Vectors) and len(answer.rows) != (texts := worker.under_way[answer.batch].texts):
            raise ValueError(f"{len(answer.rows)} rows for a batch of {texts} texts")  # which it still has
        batch, busy = worker.complete(answer)
        if isinstance(answer, Vectors):
            self._rate.observe(batch.tokens, busy)
            self.metrics.batch(
                texts=batch.texts,
                tokens=batch.tokens,
                padding=answer.padding,
                exclusive=batch.exclusive,
                seconds=busy if batch.exclusive else time.monotonic() - batch.sent,
            )
        return batch

    def _deliver(self, batch: Batch[Job], rows: VectorRows) -> None:
        first = 0
        for part in batch.parts:
            after = first + part.texts
            if not part.owner.done.done():
                try:
                    part.owner.take(part.start, rows[first:after])
                except VectorNotFinite as fault:
                    self._give_up(part.owner, fault)
            first = after

    def _retry(self, parts: Sequence[Part[Job]]) -> None:
        """Half a batch at a time, until the text that the worker cannot compute is alone."""
        if len(parts) == 1 and parts[0].texts == 1:
            self._give_up(parts[0].owner, TextFailed(index=parts[0].start))
        else:
            self._queue.retry([part for part in parts if not part.owner.done.done()])

    def _requeue(self, worker: WorkerLink[Job]) -> None:
        """Give the batches of a worker that was lost to the others, in halves, once: they may be what it died of."""
        for job in {part.owner for batch in worker.under_way.values() for part in batch.parts}:
            job.lost_workers += 1
            if job.lost_workers > 1:
                self._give_up(job, BackendFailed("two workers were lost while they computed texts of this request"))
        for batch in worker.under_way.values():
            self._queue.retry([part for part in batch.parts if not part.owner.done.done()])
        self._dispatch()

    def _give_up(self, job: Job, fault: RuntimeFault) -> None:
        _log.warning("a request has failed: %s", fault)
        if not job.done.done():
            job.done.set_exception(fault)

    async def _watch(self) -> None:
        """Ends a worker that does not answer.

        Counts its own ticks, not the clock's: where all processes were frozen, none was stuck.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in list(self._workers.values()):
                batch, waited = worker.waited(TICK_SECONDS)
                if batch and waited > batch_timeout(
                    batch.tokens, stuck_after=self._stuck_after, rate=self._rate.per_second
                ):
                    worker.close(f"the worker is stuck: no answer to a batch of {batch.tokens} tokens for {waited:g} s")

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """A server whose workers nobody watches ends, too."""
        if not watching.cancelled() and (error := watching.exception()):
            self.fail(f"the workers cannot be watched: {error!r}")


_RESERVED = 10
"""One part in so many of the queue's room is kept from principals that have tokens queued already, and one more from
their bulk requests."""
