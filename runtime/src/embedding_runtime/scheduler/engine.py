"""Request queue, dispatch loop and health state."""

import asyncio
import itertools
import logging
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from embedding_runtime.errors import (
    BackendFailed,
    NotReady,
    OneText,
    Overloaded,
    TextFailed,
    VectorNotFinite,
)
from embedding_runtime.observability import tracing
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.messages import (
    Broken,
    Failed,
    Ready,
    TokenIds,
    VectorRows,
    Vectors,
    Work,
    pack,
    receive,
)
from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.scheduler.admission import Rate, batch_timeout, retry_after
from embedding_runtime.scheduler.queue import BatchPlan, Part, RequestQueue, plan_batch
from embedding_runtime.scheduler.rate_limit import Budgets

__all__ = ["Engine", "State"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the worker is looked after."""

PREFETCH_SECONDS = 0.05
"""Batches that take longer do not wait at the worker behind another one: a text that arrives then has to wait for both.

The worker waits a millisecond for its next batch instead.
"""


class State(Enum):
    """What the engine can do."""

    LOADING = auto()
    READY = auto()
    STOPPING = auto()
    """It answers what it has and what still comes; readiness is off."""
    FAILED = auto()


@dataclass(eq=False)
class _Job:
    """One request: what it asked, what has come back so far, and who waits for it."""

    texts: Sequence[TokenIds]
    lane: Lane
    done: asyncio.Future[VectorRows]
    missing: int
    rows: dict[int, VectorRows] = field(default_factory=dict)
    """By the place of their first text; halves of a batch that failed come back after later batches."""
    joined: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Seconds in the queue until its first batch; None while it has none."""

    def take(self, start: int, rows: VectorRows) -> None:
        """Rows for the texts from `start` on. Raises VectorNotFinite."""
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            raise VectorNotFinite(index=start + int(wrong.argmax()))
        self.rows[start] = rows
        self.missing -= len(rows)
        if not self.missing:
            self.done.set_result(np.concatenate([self.rows[place] for place in sorted(self.rows)]))


@dataclass(frozen=True)
class _Batch:
    """What the worker has been given."""

    parts: Sequence[Part[_Job]]
    tokens: int
    exclusive: bool
    sent: float

    @property
    def texts(self) -> int:
        """How many."""
        return sum(part.texts for part in self.parts)


class Engine:
    """Vectors for token ids, over a stream to a worker. Lives on one event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_waiting_tokens: int, stuck_after: float
    ) -> None:
        """Both limits as in ServeArgs."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        """The state in words; for READY, how vectors are computed."""
        self.cosine: float | None = None
        """As in Ready."""
        self._reader, self._writer = reader, writer
        self._max_waiting_tokens, self._stuck_after = max_waiting_tokens, stuck_after
        self._concurrent, self._batch_tokens = False, 1  # until the worker says it
        self._queue: RequestQueue[_Job] = RequestQueue()
        self._under_way: dict[int, _Batch] = {}
        self._jobs: set[_Job] = set()
        self._numbers = itertools.count()
        self._rate = Rate()
        self._budgets = Budgets()
        self._answered = -math.inf
        self.metrics = Metrics()
        self.metrics.queue(
            tokens=self._queue.tokens_in,
            texts=self._queue.texts_in,
            tokens_in_flight=lambda: self._queue.tokens + self.tokens_under_way,
        )

    @property
    def tokens_under_way(self) -> int:
        """How many tokens the worker has been given and not answered."""
        return sum(batch.tokens for batch in self._under_way.values())

    async def run(self) -> str | None:
        """Until the worker is gone or stuck. Then who waits gets BackendFailed, and so does whoever comes.

        Returns what is wrong, where that is known; None when the worker went without a word.
        """
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._unwatched)
        try:
            while (message := await receive(self._reader)) is not None:
                match message:
                    case Vectors():
                        self._deliver(self._complete(message), message.rows)
                        self._dispatch()
                    case Failed():
                        self._retry(self._complete(message).parts)
                        self._dispatch()
                    case Ready() if self.state is State.LOADING:
                        self._begin(message)
                    case Broken(reason):
                        self.fail(reason)
                        return reason
        except (LookupError, ValueError) as error:
            self.fail(f"the worker's answer cannot be understood: {error!r}")
            return self.reason
        else:
            return self.reason if self.state is State.FAILED else None
        finally:
            self.fail("the worker ended unexpectedly")
            watching.cancel()

    def stop(self) -> None:
        """Readiness off; what is under way and what still comes is answered."""
        if self.state is State.LOADING:
            self.fail("the server is stopping")
        elif self.state is State.READY:
            self.state, self.reason = State.STOPPING, "the server is stopping"

    def fail(self, reason: str) -> None:
        """Every request that waits, and whoever comes, gets BackendFailed with this reason. The first one stays."""
        if self.state is State.FAILED:
            return
        self.state, self.reason = State.FAILED, reason
        for job in self._jobs:
            if not job.done.done():
                job.done.set_exception(BackendFailed(reason))

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """What is left of a principal's tokens of this minute; None where it has no limit."""
        return self._budgets.state(principal, time.monotonic())

    async def embed(
        self,
        texts: Sequence[TokenIds],
        principal: Principal,
        *,
        lane: Lane | None = None,
        seconds: float = math.inf,
    ) -> VectorRows:
        """One row a text, in order; there is at least one text. A caller that is cancelled leaves the queue.

        Without a `lane`, a request of few texts is interactive. A request that would take longer than its `seconds`
        is refused, unless nothing else waits.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, ExceedsKeyLimit, TextFailed, VectorNotFinite.
        """
        lane = lane or Lane.by_size(len(texts))
        lengths = [len(text) for text in texts]
        self._check_queue(sum(lengths), principal, lane, seconds)
        self._budgets.spend(principal, sum(lengths), time.monotonic())
        job = _Job(texts, lane, asyncio.get_running_loop().create_future(), missing=len(texts))
        self._jobs.add(job)
        self._queue.enqueue(job, lengths, principal.name, lane)
        self._dispatch()
        try:
            rows = await job.done
            tracing.annotate({"embedding.queue_seconds": job.queued or 0.0})
            return rows
        finally:
            self._jobs.discard(job)
            self._queue.remove(job)

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
        if lane is Lane.BULK and self._queue.tokens_of(principal.name):
            limit -= limit // _RESERVED  # for interactive requests, and for principals that have nothing queued
        after = retry_after(
            self._queue.tokens + computing, ahead, tokens, limit=limit, seconds=seconds, rate=self._rate.per_second
        )
        if after is not None:
            raise Overloaded(
                f"Server overloaded: {ahead} tokens are queued ahead of the {tokens} of this request", retry_after=after
            )

    def _begin(self, ready: Ready) -> None:
        self.state, self.reason, self.cosine = State.READY, ready.detail, ready.cosine
        self._concurrent, self._batch_tokens = ready.halves, ready.batch_tokens
        self._rate.full = ready.batch_tokens
        if ready.tokens_per_second is not None:
            self._rate.calibrate(ready.tokens_per_second)
            _log.info("ready: %s; %.0f tokens/s at warm-up", ready.detail, ready.tokens_per_second)
        else:
            _log.info("ready: %s", ready.detail)

    def _dispatch(self) -> None:
        while (plan := self._plan()) and (parts := self._queue.next_batch(plan.tokens)):
            number = next(self._numbers)
            texts = [text for part in parts for text in part.owner.texts[part.start : part.stop]]
            self._under_way[number] = batch = _Batch(parts, sum(map(len, texts)), plan.exclusive, time.monotonic())
            self._writer.write(pack(Work(number, texts, plan.exclusive)))
            for job in (part.owner for part in parts if part.owner.queued is None):
                job.queued = batch.sent - job.joined
                self.metrics.queued(job.lane, job.queued)

    def _plan(self) -> BatchPlan | None:
        rate = self._rate.per_second
        return plan_batch(
            self._queue,
            [batch.exclusive for batch in self._under_way.values()],
            concurrent=self._concurrent,
            batch_tokens=self._batch_tokens,
            prefetch=rate is None or self._batch_tokens < PREFETCH_SECONDS * rate,
        )

    def _complete(self, answer: Vectors | Failed) -> _Batch:
        """The batch of this answer. Busy time starts when it was sent or the previous one finished, whichever is later.

        So sums are right with two concurrent batches, too.
        """
        batch, now = self._under_way.pop(answer.batch), time.monotonic()
        if isinstance(answer, Vectors):
            if len(answer.rows) != batch.texts:
                raise ValueError(f"{len(answer.rows)} rows for a batch of {batch.texts} texts")
            busy = now - max(self._answered, batch.sent)
            self._rate.observe(batch.tokens, busy)
            self.metrics.batch(
                texts=batch.texts,
                tokens=batch.tokens,
                padding=answer.padding,
                whole=batch.exclusive,
                seconds=busy if batch.exclusive else now - batch.sent,
            )
        self._answered = now
        return batch

    def _deliver(self, batch: _Batch, rows: VectorRows) -> None:
        first = 0
        for part in batch.parts:
            after = first + part.texts
            if not part.owner.done.done():
                try:
                    part.owner.take(part.start, rows[first:after])
                except VectorNotFinite as fault:
                    self._give_up(part.owner, fault)
            first = after

    def _retry(self, parts: Sequence[Part[_Job]]) -> None:
        """Half a batch at a time, until the text that the worker cannot compute is alone."""
        if len(parts) == 1 and parts[0].texts == 1:
            self._give_up(parts[0].owner, TextFailed(index=parts[0].start))
        else:
            self._queue.retry([part for part in parts if not part.owner.done.done()])

    def _give_up(self, job: _Job, fault: OneText) -> None:
        _log.warning("a request has failed: %s", fault)
        if not job.done.done():
            job.done.set_exception(fault)

    async def _watch(self) -> None:
        """Ends a worker that does not answer.

        Counts its own ticks, not the clock's: where both processes were frozen, nobody was stuck.
        """
        oldest, waited = None, 0.0
        while True:
            await asyncio.sleep(TICK_SECONDS)
            number, batch = next(iter(self._under_way.items()), (None, None))
            waited = waited + TICK_SECONDS if number == oldest else 0.0
            oldest = number
            if batch and waited > batch_timeout(
                batch.tokens, stuck_after=self._stuck_after, rate=self._rate.per_second
            ):
                self.fail(f"the worker is stuck: no answer to a batch of {batch.tokens} tokens for {waited:g} s")
                self._writer.transport.abort()

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """An engine that nobody looks after ends, too."""
        if not watching.cancelled() and (error := watching.exception()):
            self.fail(f"the worker cannot be looked after: {error!r}")
            self._writer.transport.abort()


_RESERVED = 10
"""One part in so many of the queue's room is not for bulk requests of principals that have some queued already."""
