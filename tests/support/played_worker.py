"""A worker that the test plays: an engine with its other end in the test's hand."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

import numpy as np

from embedding_runtime.protocol.messages import Message, Ready, TokenIds, VectorRows, Vectors, Work, pack, receive
from embedding_runtime.protocol.requests import Principal
from embedding_runtime.scheduler.engine import Engine, State

__all__ = ["ANYBODY", "PlayedWorker", "a_worker", "ids", "rows_for"]


ANYBODY = Principal("anybody")


@dataclass
class PlayedWorker:
    engine: Engine
    running: asyncio.Task[str | None]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def say(self, message: Message) -> None:
        self.writer.write(pack(message))

    async def work(self) -> Work:
        message = await receive(self.reader)
        assert isinstance(message, Work)
        return message

    def answer(self, work: Work) -> None:
        self.say(Vectors(work.batch, rows_for(work.texts)))

    async def end(self) -> None:
        self.writer.close()
        await self.running


@asynccontextmanager
async def a_worker(
    *,
    ready: bool = True,
    halves: bool = False,
    max_waiting_tokens: int = 1_000_000,
    stuck_after: float = 60,
    tokens_per_second: float | None = None,
) -> AsyncIterator[PlayedWorker]:
    ours, theirs = socket.socketpair()
    engine = Engine(
        *await asyncio.open_unix_connection(sock=ours), max_waiting_tokens=max_waiting_tokens, stuck_after=stuck_after
    )
    worker = PlayedWorker(engine, asyncio.create_task(engine.run()), *await asyncio.open_unix_connection(sock=theirs))
    if ready:
        worker.say(Ready("played", halves, batch_tokens=2048, tokens_per_second=tokens_per_second))
        await until_state(engine, State.READY)
    try:
        yield worker
    finally:
        worker.writer.close()
        await worker.running
        engine._writer.close()


async def until_state(engine: Engine, state: State) -> None:
    async with asyncio.timeout(5):
        while engine.state is not state:  # noqa: ASYNC110 the engine has no event for tests
            await asyncio.sleep(0)


def ids(*lengths: int) -> list[TokenIds]:
    return [np.full(length, length, dtype=np.int32) for length in lengths]


def rows_for(texts: Sequence[TokenIds]) -> VectorRows:
    return np.array([[len(text), text[0]] for text in texts], dtype=np.float32)
