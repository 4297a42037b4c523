"""A frontend's client of the scheduler in another process."""

import asyncio
import itertools
import math
import socket
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

from prometheus_client import Metric

from embedding_runtime.errors import BackendFailed, NotReady, restore_fault
from embedding_runtime.observability import gather, tracing
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.link import MessageLink
from embedding_runtime.protocol.messages import (
    Cancel,
    Charge,
    Check,
    Collect,
    Fault,
    Granted,
    LoadedModel,
    Message,
    RequestRows,
    Samples,
    Scrape,
    Scraped,
    Serving,
    StateChange,
    Stop,
    Submit,
)
from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.base import State

__all__ = ["RemoteScheduler"]

KEPT = 1000
"""Maximum number of stored rate limits before the oldest is dropped."""

Answer = TypeVar("Answer", RequestRows, Granted, Scraped)


class RemoteScheduler:
    """Implements Scheduler. Use it on one event loop only."""

    def __init__(self, stop: Callable[..., None]) -> None:
        """`stop(now=...)` stops this frontend."""
        self.state = State.LOADING
        self.reason = "the model is loading"
        self.cosine: float | None = None
        self.model: LoadedModel | None = None
        self.followers: list[Callable[[], None]] = []
        self.metrics = Metrics()
        self.closed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """Done once the scheduler has exited."""
        self._stop = stop
        self._link: MessageLink | None = None
        self._numbers = itertools.count()
        self._waiting: dict[int, asyncio.Future[Message]] = {}
        self._principals: dict[int, Principal] = {}
        self._limits: dict[Principal, tuple[RateLimit, float]] = {}
        """The last received limits, and when they were received."""

    async def connect(self, end: socket.socket) -> None:
        """Connect to the scheduler over this socket."""
        self._link = await MessageLink.connect(end, self._handle, self._lost)

    def close(self) -> None:
        """Close the link."""
        if self._link is not None:
            self._link.abort()

    def serving(self) -> None:
        """Tell the scheduler that this frontend accepts connections."""
        self._send(Serving())

    async def embed(
        self,
        texts: TokenBatch,
        principal: Principal,
        *,
        lane: Lane | None = None,
        seconds: float = math.inf,
        output: Output = Output.PER_TEXT,
    ) -> Rows:
        """See Scheduler."""
        self._check_state()
        number = next(self._numbers)
        lane = lane or Lane.by_size(len(texts))
        try:
            submit = Submit(number, texts, principal, lane, seconds, output)
            answer = await self._call(number, submit, RequestRows, principal)
        except asyncio.CancelledError:
            self._send(Cancel(number))
            raise
        tracing.annotate({"embedding.queue_seconds": answer.queue_seconds})
        return answer.rows

    async def check_admission(
        self, texts: int, tokens: int, principal: Principal, *, lane: Lane | None, seconds: float
    ) -> None:
        """See Scheduler."""
        self._check_state()
        number = next(self._numbers)
        await self._call(number, Check(number, texts, tokens, principal, lane, seconds), Granted, principal)

    async def check_budget(self, principal: Principal, tokens: int) -> None:
        """See Scheduler."""
        await self._charge(principal, tokens, only_checks=True)

    async def charge(self, principal: Principal, tokens: int) -> None:
        """See Scheduler."""
        await self._charge(principal, tokens, only_checks=False)

    async def _charge(self, principal: Principal, tokens: int, *, only_checks: bool) -> None:
        if principal.tokens_per_minute is not None:
            number = next(self._numbers)
            await self._call(number, Charge(number, principal, tokens, only_checks), Granted, principal)

    def rate_limit(self, principal: Principal) -> RateLimit | None:
        """The limit in the scheduler's last response, refilled since then."""
        if principal.tokens_per_minute is None:
            return None
        limit, received = self._limits.get(principal, (RateLimit(principal.tokens_per_minute, 0, 0.0), -math.inf))
        passed = min(time.monotonic() - received, 60.0)
        remaining = min(limit.per_minute, limit.remaining + int(passed * limit.per_minute / 60))
        return RateLimit(limit.per_minute, remaining, max(0.0, limit.full_in - passed))

    async def collect(self) -> Sequence[Metric]:
        """See Scheduler. Once the scheduler has exited: the metrics of this frontend."""
        if self.closed.done():
            return self.metrics.families()
        number = next(self._numbers)
        return gather.merged(map(gather.from_json, (await self._call(number, Scrape(number), Scraped, None)).parts))

    def _check_state(self) -> None:
        if self.state is State.LOADING:
            raise NotReady(self.reason)
        if self.state is State.FAILED:
            raise BackendFailed(self.reason)

    async def _call(self, number: int, message: Message, kind: type[Answer], principal: Principal | None) -> Answer:
        """Send a message and wait for its answer. Raises the scheduler's fault, or BackendFailed if it has exited."""
        if self.closed.done():
            raise BackendFailed(self.reason)
        self._waiting[number] = future = asyncio.get_running_loop().create_future()
        self._send(message)
        try:
            answer = await future
        finally:
            del self._waiting[number]
        if not isinstance(answer, Scraped) and principal is not None and principal.tokens_per_minute is not None:
            self._note(principal, getattr(answer, "rate_limit", None))
        if isinstance(answer, Fault):
            raise restore_fault(answer.name, answer.message, answer.attributes)
        if not isinstance(answer, kind):
            raise TypeError(f"{type(answer).__name__} is not an answer to {type(message).__name__}")
        return answer

    def _note(self, principal: Principal, limit: RateLimit | None) -> None:
        if limit is not None:
            self._limits.pop(principal, None)
            self._limits[principal] = limit, time.monotonic()
            if len(self._limits) > KEPT:
                del self._limits[next(iter(self._limits))]

    def _handle(self, message: Message) -> None:
        match message:
            case RequestRows() | Granted() | Fault() | Scraped():
                future = self._waiting.get(message.request)
                if future is not None and not future.done():
                    future.set_result(message)
            case StateChange(state, reason, cosine, model):
                self.state, self.reason, self.cosine, self.model = State[state], reason, cosine, model
                for follower in self.followers:
                    follower()
            case Collect():
                self._send(Samples(gather.to_json(self.metrics.families())))
            case Stop(now):
                self._stop(now=now)

    def _lost(self, problem: str | None) -> None:
        if self.state is not State.FAILED:
            self.state, self.reason = State.FAILED, problem or "the scheduler ended unexpectedly"
        for future in self._waiting.values():
            if not future.done():
                future.set_exception(BackendFailed(self.reason))
        if not self.closed.done():
            self.closed.set_result(problem)

    def _send(self, message: Message) -> None:
        if self._link is not None:
            self._link.send(message)
