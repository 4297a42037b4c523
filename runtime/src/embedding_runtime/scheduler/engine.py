"""The server's one queue: admission, dispatch to the workers, and the health state."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Callable, Sequence

from prometheus_client import Metric

from embedding_runtime.errors import (
    BackendFailed,
    NotReady,
    Overloaded,
    RuntimeFault,
    TextFailed,
)
from embedding_runtime.observability import tracing
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import Failed, Ready, VectorRows, Vectors
from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.admission import Rate, batch_timeout, retry_after
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.dispatch import MIN_CONCURRENT_TOKENS, BatchPlan, next_dispatch
from embedding_runtime.scheduler.job import Job
from embedding_runtime.scheduler.queue import Part, RequestQueue
from embedding_runtime.scheduler.rate_limit import Budgets
from embedding_runtime.scheduler.worker_link import Batch, WorkerLink
from embedding_runtime.scheduler.worker_pool import WorkerPool, Workers

__all__ = ["Engine"]

_log = logging.getLogger(__name__)

SHORT_BATCH_SECONDS = 0.05
"""Batches that take longer do not wait at a worker behind another one: a text that arrives then has to wait for both.

The worker waits a millisecond for its next batch instead.
"""


class Engine:
    """Vectors for token ids, from one worker or several. Lives on one event loop."""

    def __init__(self, *, max_waiting_tokens: int, stuck_after: float) -> None:
        """Both limits as in ServeArgs."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        """The state in words; for READY, how vectors are computed."""
        self.cosine: float | None = None
        """As in Ready."""
        self.exit_code = 1
        """Of a server that ends because the state is FAILED."""
        self._max_waiting_tokens, self._stuck_after = max_waiting_tokens, stuck_after
        self.pool: WorkerPool[Job] = WorkerPool(self, self._batch_timeout)
        self._queue: RequestQueue[Job] = RequestQueue()
        self._jobs: set[Job] = set()
        self._numbers = itertools.count()
        self._rate = Rate()
        self._budgets = Budgets()
        self.metrics = Metrics()
        self.metrics.queue(
            tokens=self._queue.tokens_in,
            texts=self._queue.texts_in,
            tokens_in_flight=lambda: self._queue.tokens + self.pool.tokens,
        )
        self.metrics.workers(ready=lambda: len(self.pool.ready))
        self.followers: list[Callable[[], None]] = []
        """Called after each change of the state."""

    async def run(self, workers: Workers) -> str:
        """Start the workers, dispatch to them, replace those that are lost. Returns when the state is FAILED: why.

        Then requests that wait get BackendFailed, and so do later ones.
        """
        try:
            await self.pool.run(workers)
        finally:
            self.fail("no worker is left")
        return self.reason

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

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """Every request that waits, and every later one, gets BackendFailed with this reason. The first one stays."""
        if self.state is State.FAILED:
            return
        self.state, self.reason, self.exit_code = State.FAILED, reason, exit_code
        for job in self._jobs:
            job.fail(BackendFailed(reason))
        self.pool.close(reason)
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
        computing = self.pool.tokens
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

    def loaded(self, ready: Ready) -> None:
        """As PoolUser has it: the server is ready once every worker has been."""
        if self.state is not State.LOADING:
            self._dispatch()
        elif self.pool.all_loaded:
            number = len(self.pool.ready)
            self.state, self.cosine = State.READY, ready.cosine
            self.reason = ready.detail if number == 1 else f"{number} workers: {ready.detail}"
            self._rate.full = ready.batch_tokens
            if ready.tokens_per_second is not None:
                self._rate.calibrate(ready.tokens_per_second)
                _log.info("ready: %s; %.0f tokens/s a worker at warm-up", self.reason, ready.tokens_per_second)
            else:
                _log.info("ready: %s", self.reason)
            self._changed()

    def answered(self, worker: WorkerLink[Job], answer: Vectors | Failed) -> None:
        """As PoolUser has it."""
        if isinstance(answer, Vectors):
            self._deliver(self._complete(worker, answer), answer.rows)
        else:
            batch, _ = worker.complete(answer)
            self._retry(batch.parts)
        self._dispatch()

    def lost(self, batches: Sequence[Batch[Job]]) -> None:
        """As PoolUser has it: other workers get the batches, in halves, once, since they may be what it died of."""
        self.metrics.worker_restarted()
        for job in {part.owner for batch in batches for part in batch.parts}:
            job.lost_workers += 1
            if job.lost_workers > 1:
                self._give_up(job, BackendFailed("two workers were lost while they computed texts of this request"))
        for batch in batches:
            self._queue.retry([part for part in batch.parts if not part.owner.done.done()])
        self._dispatch()

    @property
    def _rate_of_all(self) -> float | None:
        """Tokens a second of all workers that are ready; None before the first batch."""
        rate = self._rate.per_second
        return None if rate is None else rate * max(1, len(self.pool.ready))

    def _dispatch(self) -> None:
        while (ready := self.pool.ready) and (plan := self._plan(ready)) and (parts := self._next(plan)):
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

    def _batch_timeout(self, tokens: int) -> float:
        return batch_timeout(tokens, stuck_after=self._stuck_after, rate=self._rate.per_second)

    def _complete(self, worker: WorkerLink[Job], answer: Vectors) -> Batch[Job]:
        if len(answer.rows) != (texts := worker.under_way[answer.batch].texts):
            raise ValueError(f"{len(answer.rows)} rows for a batch of {texts} texts")  # which it still has
        batch, busy = worker.complete(answer)
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
            part.owner.take(part.start, rows[first:after])
            first = after

    def _retry(self, parts: Sequence[Part[Job]]) -> None:
        """Half a batch at a time, until the text that the worker cannot compute is alone."""
        if len(parts) == 1 and parts[0].texts == 1:
            self._give_up(parts[0].owner, TextFailed(index=parts[0].start))
        else:
            self._queue.retry([part for part in parts if not part.owner.done.done()])

    def _give_up(self, job: Job, fault: RuntimeFault) -> None:
        _log.warning("a request has failed: %s", fault)
        job.fail(fault)


_RESERVED = 10
"""One part in so many of the queue's room is kept from principals that have tokens queued already, and one more from
their bulk requests."""
