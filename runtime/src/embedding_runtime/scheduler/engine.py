"""Admission, requests and state of the server. `batches` computes what is admitted."""

import asyncio
import logging
import math
import time
from collections.abc import Callable, Sequence

from prometheus_client import Metric

from embedding_runtime.contract import BackendName
from embedding_runtime.errors import BackendFailed, NotReady, Overloaded
from embedding_runtime.observability import tracing
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import LoadedModel, Ready
from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.admission import Rate, batch_timeout, retry_after
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.batches import Batches
from embedding_runtime.scheduler.job import Job
from embedding_runtime.scheduler.queue import RequestQueue
from embedding_runtime.scheduler.rate_limit import Budgets
from embedding_runtime.scheduler.worker_pool import WorkerPool, Workers

__all__ = ["Engine"]

_log = logging.getLogger(__name__)


class Engine:
    """Computes vectors with one or several workers. Use it on one event loop only."""

    def __init__(self, *, max_waiting_tokens: int, stuck_after: float) -> None:
        """See ServeArgs for both limits."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        """Description of the state; for READY, how vectors are computed."""
        self.cosine: float | None = None
        """See `messages.Ready`."""
        self.model: LoadedModel | None = None
        """See `messages.Ready`."""
        self.exit_code = 1
        """Exit code of the server once the state is FAILED."""
        self._max_waiting_tokens, self._stuck_after = max_waiting_tokens, stuck_after
        self.metrics = Metrics()
        self._budgets = Budgets()
        self._jobs: set[Job] = set()
        self._queue: RequestQueue[Job] = RequestQueue()
        self._rate = Rate()
        self._batches = Batches(self._queue, lambda: self.pool.ready, self._rate, self.metrics)
        self.pool: WorkerPool[Job] = WorkerPool(self, self._batches, self._batch_timeout)
        self.metrics.queue(
            tokens=self._queue.tokens_in,
            texts=self._queue.texts_in,
            tokens_in_flight=lambda: self._queue.tokens + self.pool.tokens,
        )
        self.metrics.workers(ready=lambda: len(self.pool.ready))
        self.followers: list[Callable[[], None]] = []
        """Callbacks, called after each change of the state."""

    async def run(self, workers: Workers) -> str:
        """Run and restart the workers until the state is FAILED, and return the reason.

        Queued and later requests then get BackendFailed.
        """
        try:
            await self.pool.run(workers)
        finally:
            self.fail("all workers have ended")
        return self.reason

    def _changed(self) -> None:
        """Notify the followers of the state."""
        for follower in self.followers:
            follower()

    def stop(self) -> None:
        """Turn readiness off. Running and new requests are still answered."""
        if self.state is State.LOADING:
            self.fail("the server is stopping")
        elif self.state is State.READY:
            self.state, self.reason = State.STOPPING, "the server is stopping"
            self._changed()

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """Fail queued and later requests with BackendFailed. Only the first reason and exit code are kept."""
        if self.state is State.FAILED:
            return
        self.state, self.reason, self.exit_code = State.FAILED, reason, exit_code
        for job in self._jobs:
            job.fail(BackendFailed(reason))
        self.pool.close(reason)
        self._changed()

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """The remaining budget of a principal; None if it has no limit."""
        return self._budgets.state(principal, time.monotonic())

    async def collect(self) -> Sequence[Metric]:
        """See Scheduler. All metrics are in this process."""
        return self.metrics.families()

    async def embed(
        self,
        texts: TokenBatch,
        principal: Principal,
        *,
        lane: Lane | None = None,
        seconds: float = math.inf,
        output: Output = Output.PER_TEXT,
    ) -> Rows:
        """Submit a request and wait for its rows. Cancelling the call dequeues it."""
        job = self.submit(texts, principal, lane=lane, seconds=seconds, output=output)
        try:
            rows = await job.done
            tracing.annotate({"embedding.queue_seconds": job.queued or 0.0})
            return rows
        finally:
            self.withdraw(job)

    def submit(
        self,
        texts: TokenBatch,
        principal: Principal,
        *,
        lane: Lane | None = None,
        seconds: float = math.inf,
        output: Output = Output.PER_TEXT,
    ) -> Job:
        """Enqueue a request. The job's future gets one row per text, in order. Call `withdraw` at the end.

        `texts` is not empty. Without a `lane`, a request of few texts is interactive. A request that cannot finish
        within `seconds` is rejected, unless the queue is empty.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit; the future: BackendFailed, TextFailed,
        VectorNotFinite.
        """
        lane = lane or Lane.by_size(len(texts))
        self._check_queue(texts.tokens, principal, lane, seconds)
        self._budgets.spend(principal, texts.tokens, time.monotonic())
        job = Job(texts, lane, asyncio.get_running_loop().create_future(), missing=len(texts), output=output)
        self._jobs.add(job)
        self._queue.enqueue(job, texts.lengths.tolist(), principal.name, lane, group=output)
        self._batches.dispatch()
        return job

    def withdraw(self, job: Job) -> None:
        """Dequeue the rest of a job, which is done or whose client has disconnected."""
        self._jobs.discard(job)
        self._queue.remove(job)
        if not job.done.done():
            job.done.cancel()

    async def check_admission(
        self, texts: int, tokens: int, principal: Principal, *, lane: Lane | None, seconds: float
    ) -> None:
        """Reject what `embed` would reject now for this many texts and tokens, or more. Consumes no budget.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit.
        """
        self._check_queue(tokens, principal, lane or Lane.by_size(texts), seconds)
        await self.check_budget(principal, tokens)

    async def check_budget(self, principal: Principal, tokens: int) -> None:
        """Check that the budget has this many tokens, or more. Raises RateLimited, ExceedsKeyLimit."""
        self._budgets.check(principal, tokens, time.monotonic(), at_least=True)

    async def charge(self, principal: Principal, tokens: int) -> None:
        """Charge tokens that need no worker to the principal's budget. Raises RateLimited, ExceedsKeyLimit."""
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
            limit -= limit // _RESERVED  # reserved for principals without queued requests
            if lane is Lane.BULK:
                limit -= limit // _RESERVED  # reserved for interactive requests
        after = retry_after(
            self._queue.tokens + computing, ahead, tokens, limit=limit, seconds=seconds, rate=self._rate_of_all
        )
        if after is not None:
            raise Overloaded(
                f"Server overloaded: {ahead} tokens are queued ahead of this request's {tokens}", retry_after=after
            )

    def loaded(self, ready: Ready) -> None:
        """See PoolUser. The server is ready once every worker has been."""
        self._take_model(ready.model)
        if self.state is not State.LOADING:
            self._batches.dispatch()
        elif self.pool.all_loaded:
            number = len(self.pool.ready)
            self.state, self.cosine = State.READY, ready.cosine
            self.reason = ready.detail if number == 1 else f"{number} workers: {ready.detail}"
            self._rate.full = ready.batch_tokens
            if ready.tokens_per_second is not None:
                self._rate.calibrate(ready.tokens_per_second)
                _log.info("ready: %s; %.0f tokens/s per worker in the warm-up", self.reason, ready.tokens_per_second)
            else:
                _log.info("ready: %s", self.reason)
            self._changed()

    def _take_model(self, model: LoadedModel | None) -> None:
        """Report vllm if workers have different backends, since it rejects more texts."""
        if model is None or model == self.model:
            return
        if self.model is not None and self.model.backend != model.backend:
            differ = "workers have different backends: %s, and %s (%s)"
            _log.warning(differ, self.model.backend, model.backend, model.reason)
            if model.backend != BackendName.VLLM:
                return
        self.model = model
        self.metrics.loaded(model.backend)
        if self.state is State.READY:
            self._changed()

    @property
    def _rate_of_all(self) -> float | None:
        """Tokens per second of all ready workers; None before the first batch."""
        rate = self._rate.per_second
        return None if rate is None else rate * max(1, len(self.pool.ready))

    def _batch_timeout(self, tokens: int) -> float:
        return batch_timeout(tokens, stuck_after=self._stuck_after, rate=self._rate.per_second)


_RESERVED = 10
"""Reserves 1/10 of the queue for principals without queued tokens, and a further 1/10 for interactive requests."""
