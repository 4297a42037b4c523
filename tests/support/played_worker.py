"""Workers that the test plays, through their ends of the engine's sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Self

import numpy as np

from embedding_runtime.protocol.link import MessageLink
from embedding_runtime.protocol.messages import Message, Ready, Vectors, Work
from embedding_runtime.protocol.requests import Principal
from embedding_runtime.protocol.rows import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.engine import Engine

__all__ = [
    "ANYBODY",
    "PlayedProcess",
    "PlayedWorker",
    "PlayedWorkers",
    "a_worker",
    "ids",
    "rows_for",
    "several_workers",
    "until_state",
]


ANYBODY = Principal("anybody")

ENDED = "the worker ended unexpectedly"


class PlayedProcess:
    """A worker's end of the link."""

    def __init__(self) -> None:
        self._works: asyncio.Queue[Work] = asyncio.Queue()
        self._link: MessageLink | None = None
        self.gone = asyncio.Event()
        self.is_ready = False

    async def connect(self, end: socket.socket) -> Self:
        self._link = await MessageLink.connect(end, self._received, lambda _: self.gone.set())
        return self

    @property
    def is_connected(self) -> bool:
        return self._link is not None and not self.gone.is_set()

    def say(self, message: Message) -> None:
        assert self._link is not None
        self._link.send(message)

    def ready(self, *, concurrent: bool = False, tokens_per_second: float | None = None) -> None:
        self.is_ready = True
        self.say(Ready("played", concurrent, batch_tokens=2048, tokens_per_second=tokens_per_second))

    async def work(self) -> Work:
        return await self._works.get()

    @property
    def has_work(self) -> bool:
        return not self._works.empty()

    def answer(self, work: Work) -> None:
        self.say(Vectors(work.batch, rows_for(work.texts)))

    def die(self) -> None:
        assert self._link is not None
        self._link.abort()

    def _received(self, message: Message) -> None:
        assert isinstance(message, Work)
        self._works.put_nowait(message)


@dataclass
class PlayedWorkers:
    """What an engine starts: each start of a worker is in `started`, in order."""

    count: int = 1
    started: list[tuple[int, PlayedProcess]] = field(default_factory=list)
    _connecting: set["asyncio.Task[PlayedProcess]"] = field(default_factory=set)

    def start(self, number: int) -> socket.socket:
        ours, theirs = socket.socketpair()
        process = PlayedProcess()
        self._connecting.add(asyncio.create_task(process.connect(theirs)))
        self.started.append((number, process))
        return ours

    async def ended(self, number: int) -> tuple[str, int]:
        return ENDED, 1

    def process(self, number: int) -> PlayedProcess:
        """The latest of this number."""
        return next(process for each, process in reversed(self.started) if each == number)

    @property
    def latest(self) -> list[PlayedProcess]:
        return [self.process(number) for number in range(self.count)]

    async def all_connected(self) -> None:
        while len(self.started) < self.count:  # noqa: ASYNC110 the engine starts them in its next steps
            await asyncio.sleep(0)
        await asyncio.gather(*self._connecting)


@dataclass
class PlayedWorker:
    """One worker, and its engine."""

    engine: Engine
    running: "asyncio.Task[str | None]"
    process: PlayedProcess

    def say(self, message: Message) -> None:
        self.process.say(message)

    async def work(self) -> Work:
        return await self.process.work()

    def answer(self, work: Work) -> None:
        self.process.answer(work)

    async def end(self) -> None:
        self.process.die()
        await self.running


@asynccontextmanager
async def a_worker(
    *,
    ready: bool = True,
    concurrent: bool = False,
    max_waiting_tokens: int = 1_000_000,
    stuck_after: float = 60,
    tokens_per_second: float | None = None,
) -> AsyncIterator[PlayedWorker]:
    async with several_workers(1, ready=False, max_waiting_tokens=max_waiting_tokens, stuck_after=stuck_after) as (
        engine,
        workers,
        running,
    ):
        worker = PlayedWorker(engine, running, workers.started[0][1])
        if ready:
            worker.process.ready(concurrent=concurrent, tokens_per_second=tokens_per_second)
            await until_state(engine, State.READY)
        yield worker


@asynccontextmanager
async def several_workers(
    count: int, *, ready: bool = True, max_waiting_tokens: int = 1_000_000, stuck_after: float = 60
) -> AsyncIterator[tuple[Engine, PlayedWorkers, "asyncio.Task[str | None]"]]:
    workers = PlayedWorkers(count)
    engine = Engine(max_waiting_tokens=max_waiting_tokens, stuck_after=stuck_after)
    running = asyncio.create_task(engine.run(workers))
    await workers.all_connected()
    if ready:
        for _, process in workers.started:
            process.ready()
        await until_state(engine, State.READY)
    try:
        yield engine, workers, running
    finally:
        engine.fail("the test is over")
        await running
        for _, process in workers.started:
            await process.gone.wait()


async def until_state(engine: Engine, state: State) -> None:
    async with asyncio.timeout(60):
        while engine.state is not state:  # noqa: ASYNC110 the engine has no event for tests
            await asyncio.sleep(0)


def ids(*lengths: int) -> TokenBatch:
    return TokenBatch.of([np.full(length, length, dtype=np.int32) for length in lengths])


def rows_for(texts: Sequence[object] | TokenBatch) -> VectorRows:
    return np.array([[len(text), text[0]] for text in texts], dtype=np.float32)  # type: ignore[arg-type,index]
