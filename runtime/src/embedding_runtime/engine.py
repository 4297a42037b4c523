"""The line of waiting texts, the loop that feeds the worker from it, and how well both are."""

import asyncio
import itertools
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, auto

import numpy as np

from embedding_runtime import tracing
from embedding_runtime.batching import Line, Part
from embedding_runtime.errors import BackendFailed, NotReady, Overloaded, VectorNotFinite
from embedding_runtime.metrics import Metrics
from embedding_runtime.wire import Broken, Ready, TokenIds, VectorRows, Vectors, Work, pack, receive

__all__ = ["Engine", "State"]

_log = logging.getLogger(__name__)

BATCH_TOKENS = 2048
"""Measured: 1,024 and 2,048 are alike, 512 and 4,096 slower."""

BATCHES_UNDER_WAY = 2
"""One computes and one waits at the worker, so that it never waits for the front."""

WAITING_TOKENS = 4_000_000
"""More than this in line, and nobody joins: minutes of work, tens of megabytes."""


class State(Enum):
    """What the engine can do."""

    LOADING = auto()
    READY = auto()
    STOPPING = auto()
    """It answers what it has and what still comes; readiness is off."""
    FAILED = auto()


@dataclass(eq=False)
class _Job:
    """One request: what it asked, what has come back so far (in order), and who waits for it."""

    texts: Sequence[TokenIds]
    done: asyncio.Future[VectorRows]
    rows: list[VectorRows] = field(default_factory=list)
    joined: float = field(default_factory=time.monotonic)
    queued: float = 0.0
    """Seconds in line, until its first batch."""

    def take(self, start: int, rows: VectorRows) -> None:
        """Rows for the texts from `start` on. A wrong row fails the request it belongs to."""
        if self.done.done():
            return
        wrong = ~np.isfinite(rows).all(axis=1)
        if wrong.any():
            self.done.set_exception(VectorNotFinite(index=start + int(wrong.argmax())))
            return
        self.rows.append(rows)
        if start + len(rows) == len(self.texts):
            self.done.set_result(np.concatenate(self.rows))


@dataclass(frozen=True)
class _Batch:
    """What the worker has been given."""

    parts: Sequence[Part[_Job]]
    tokens: int
    sent: float


class Engine:
    """Vectors for token ids, over a stream to a worker. Lives on one event loop."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.state = State.LOADING
        self.reason = "the model is loading"
        """The state in words; for READY, how vectors are computed."""
        self._reader, self._writer = reader, writer
        self._line: Line[_Job] = Line()
        self._under_way: dict[int, _Batch] = {}
        self._answered = 0.0
        """When the worker was last done with a batch."""
        self._jobs: set[_Job] = set()
        self._numbers = itertools.count()
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
        """Until the worker is gone. Then every request that waits gets BackendFailed, and so does whoever comes.

        Returns what a worker that broke said last; None when it went without a word.
        """
        while (message := await receive(self._reader)) is not None:
            match message:
                case Vectors(batch, rows):
                    self._deliver(self._under_way.pop(batch), rows)
                    self._feed()
                case Ready(detail) if self.state is State.LOADING:
                    self.state, self.reason = State.READY, detail
                    _log.info("ready: %s", detail)
                case Broken(reason):
                    self._fail(reason)
                    return reason
        self._fail("the worker ended unexpectedly")
        return None

    def stop(self) -> None:
        """Readiness off; what is under way and what still comes is answered."""
        if self.state is State.LOADING:
            self._fail("the server is stopping")
        elif self.state is State.READY:
            self.state, self.reason = State.STOPPING, "the server is stopping"

    async def embed(self, texts: Sequence[TokenIds]) -> VectorRows:
        """One row a text, in order; there is at least one text. A caller that is cancelled leaves the line.

        Raises NotReady, BackendFailed, Overloaded, VectorNotFinite.
        """
        if self.state is State.LOADING:
            raise NotReady(self.reason)
        if self.state is State.FAILED:
            raise BackendFailed(self.reason)
        if self._line.tokens >= WAITING_TOKENS:
            raise Overloaded(f"{self._line.tokens} tokens wait already")
        job = _Job(texts, asyncio.get_running_loop().create_future())
        self._jobs.add(job)
        self._line.join(job, [len(text) for text in texts])
        self._feed()
        try:
            rows = await job.done
            tracing.annotate({"embedding.queue_seconds": job.queued})
            return rows
        finally:
            self._jobs.discard(job)
            self._line.leave(job)

    def _feed(self) -> None:
        while len(self._under_way) < BATCHES_UNDER_WAY and (parts := self._line.next_batch(BATCH_TOKENS)):
            number = next(self._numbers)
            texts = [text for part in parts for text in part.owner.texts[part.start : part.stop]]
            self._under_way[number] = batch = _Batch(parts, sum(map(len, texts)), time.monotonic())
            self._writer.write(pack(Work(number, texts)))
            for job in (part.owner for part in parts if part.start == 0):
                job.queued = batch.sent - job.joined
                self.metrics.queue.observe(job.queued)

    def _deliver(self, batch: _Batch, rows: VectorRows) -> None:
        begun, self._answered = max(batch.sent, self._answered), time.monotonic()
        self.metrics.batch(texts=len(rows), tokens=batch.tokens, seconds=self._answered - begun)
        first = 0
        for part in batch.parts:
            after = first + part.stop - part.start
            part.owner.take(part.start, rows[first:after])
            first = after

    def _fail(self, reason: str) -> None:
        if self.state is State.FAILED:
            return
        self.state, self.reason = State.FAILED, reason
        for job in self._jobs:
            if not job.done.done():
                job.done.set_exception(BackendFailed(reason))
