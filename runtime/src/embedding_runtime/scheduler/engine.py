"""The line of waiting texts, the loop that feeds the worker from it, and how well both are."""

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
from embedding_runtime.protocol.requests import Principal, RateLimit
from embedding_runtime.scheduler.admission import Rate, may_take, try_again_after
from embedding_runtime.scheduler.queue import Line, Part, Share, bisected, next_share
from embedding_runtime.scheduler.rate_limit import Budgets

__all__ = ["Engine", "State"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the worker is looked after."""


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
    done: asyncio.Future[VectorRows]
    missing: int
    rows: dict[int, VectorRows] = field(default_factory=dict)
    """By the place of their first text; halves of a batch that failed come back after later batches."""
    joined: float = field(default_factory=time.monotonic)
    queued: float | None = None
    """Seconds in line until its first batch; None while it has none."""

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
    whole: bool
    sent: float


class Engine:
    """Vectors for token ids, over a stream to a worker. Lives on one event loop."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, max_waiting_tokens: int, stuck_after: float
    ) -> None:
        """Both limits as in ServeArgs."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        """The state in words; for READY, how vectors are computed."""
        self._reader, self._writer = reader, writer
        self._max_waiting_tokens, self._stuck_after = max_waiting_tokens, stuck_after
        self._halves, self._batch_tokens = False, 1  # until the worker says it
        self._line: Line[_Job] = Line()
        self._again: list[Sequence[Part[_Job]]] = []
        """Halves of batches that failed; they go before the line."""
        self._under_way: dict[int, _Batch] = {}
        self._jobs: set[_Job] = set()
        self._numbers = itertools.count()
        self._rate = Rate()
        self._budgets = Budgets()
        self._answered = -math.inf
        self.metrics = Metrics()
        self.metrics.line(
            tokens=lambda: self._line.tokens,
            texts=lambda: self._line.texts,
            tokens_in_flight=lambda: self._line.tokens + self.tokens_under_way,
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
                        self._deliver(self._taken_back(message), message.rows)
                        self._feed()
                    case Failed():
                        self._bisect(self._taken_back(message).parts)
                        self._feed()
                    case Ready(detail, halves, batch_tokens) if self.state is State.LOADING:
                        self.state, self.reason = State.READY, detail
                        self._halves, self._batch_tokens = halves, batch_tokens
                        _log.info("ready: %s", detail)
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

    async def embed(self, texts: Sequence[TokenIds], principal: Principal, *, seconds: float = math.inf) -> VectorRows:
        """One row a text, in order; there is at least one text. A caller that is cancelled leaves the line.

        A caller that has `seconds` at most is not let in where they would not do: it still has to go by itself.

        Raises NotReady, BackendFailed, Overloaded, RateLimited, TextFailed, VectorNotFinite.
        """
        if self.state is State.LOADING:
            raise NotReady(self.reason)
        if self.state is State.FAILED:
            raise BackendFailed(self.reason)
        lengths = [len(text) for text in texts]
        self._admit(sum(lengths), seconds)
        self._budgets.spend(principal, sum(lengths), time.monotonic())
        job = _Job(texts, asyncio.get_running_loop().create_future(), missing=len(texts))
        self._jobs.add(job)
        self._line.join(job, lengths)
        self._feed()
        try:
            rows = await job.done
            tracing.annotate({"embedding.queue_seconds": job.queued or 0.0})
            return rows
        finally:
            self._jobs.discard(job)
            self._line.leave(job)

    def _admit(self, tokens: int, seconds: float) -> None:
        ahead = self._line.tokens + self.tokens_under_way
        after = try_again_after(
            ahead, tokens, budget=self._max_waiting_tokens, seconds=seconds, rate=self._rate.per_second
        )
        if after is not None:
            raise Overloaded(f"{ahead} tokens are before the {tokens} of this request", retry_after=after)

    def _feed(self) -> None:
        while (share := self._share()) and (parts := self._next(share.tokens)):
            number = next(self._numbers)
            texts = [text for part in parts for text in part.owner.texts[part.start : part.stop]]
            self._under_way[number] = batch = _Batch(parts, sum(map(len, texts)), share.whole, time.monotonic())
            self._writer.write(pack(Work(number, texts, share.whole)))
            for job in (part.owner for part in parts if part.owner.queued is None):
                job.queued = batch.sent - job.joined
                self.metrics.queue.observe(job.queued)

    def _share(self) -> Share | None:
        return next_share(
            self._line,
            [batch.whole for batch in self._under_way.values()],
            halves=self._halves,
            batch_tokens=self._batch_tokens,
        )

    def _next(self, tokens: int) -> Sequence[Part[_Job]]:
        while self._again:
            if parts := [part for part in self._again.pop() if not part.owner.done.done()]:
                return parts
        return self._line.next_batch(tokens)

    def _taken_back(self, answer: Vectors | Failed) -> _Batch:
        """The worker began with it when it had it and was done with the last: sums are right, with two halves, too."""
        batch, now = self._under_way.pop(answer.batch), time.monotonic()
        if isinstance(answer, Vectors):
            busy = now - max(self._answered, batch.sent)
            self._rate.saw(batch.tokens, busy)
            seconds = busy if batch.whole else now - batch.sent
            texts = sum(part.stop - part.start for part in batch.parts)
            self.metrics.batch(
                texts=texts, tokens=batch.tokens, padding=answer.padding, whole=batch.whole, seconds=seconds
            )
        self._answered = now
        return batch

    def _deliver(self, batch: _Batch, rows: VectorRows) -> None:
        first = 0
        for part in batch.parts:
            after = first + part.stop - part.start
            if not part.owner.done.done():
                try:
                    part.owner.take(part.start, rows[first:after])
                except VectorNotFinite as fault:
                    self._give_up(part.owner, fault)
            first = after

    def _bisect(self, parts: Sequence[Part[_Job]]) -> None:
        """Half a batch at a time, until the text that the worker cannot compute is alone."""
        if len(parts) == 1 and parts[0].stop - parts[0].start == 1:
            self._give_up(parts[0].owner, TextFailed(index=parts[0].start))
        else:
            self._again += reversed(bisected(parts))

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
            if batch and waited > may_take(batch.tokens, patience=self._stuck_after, rate=self._rate.per_second):
                self.fail(f"the worker is stuck: no answer to a batch of {batch.tokens} tokens for {waited:g} s")
                self._writer.transport.abort()

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """An engine that nobody looks after ends, too."""
        if not watching.cancelled() and (error := watching.exception()):
            self.fail(f"the worker cannot be looked after: {error!r}")
            self._writer.transport.abort()
