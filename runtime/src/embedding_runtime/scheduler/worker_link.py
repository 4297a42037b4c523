"""The scheduler's side of a worker: its link, its capabilities and its batches."""

import asyncio
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic

from embedding_runtime.protocol.link import MessageLink
from embedding_runtime.protocol.messages import Failed, Message, Ready, Vectors, Work
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.scheduler.dispatch import MOST_BATCHES, WorkerLoad
from embedding_runtime.scheduler.parts import Owner, Part

__all__ = ["Batch", "WorkerLink"]


@dataclass(frozen=True)
class Batch(Generic[Owner]):
    """A batch that a worker computes."""

    parts: Sequence[Part[Owner]]
    tokens: int
    exclusive: bool
    sent: float

    @property
    def texts(self) -> int:
        """The number of texts."""
        return sum(part.texts for part in self.parts)


class WorkerLink(Generic[Owner]):
    """A connected worker."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.ready: Ready | None = None
        self.under_way: dict[int, Batch[Owner]] = {}
        self.closed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        """Done once the worker has exited, with the reason if it is known."""
        self._link: MessageLink | None = None
        self._answered = float("-inf")
        self._oldest: int | None = None
        self._waited = 0.0

    async def connect(self, end: socket.socket, received: Callable[[Message], None]) -> None:
        """Connect to the worker over this socket."""
        self._link = await MessageLink.connect(end, received, self.close)
        if self.closed.done():  # the server has failed in the meantime
            self._link.abort()

    @property
    def tokens(self) -> int:
        """Tokens of all running batches."""
        return sum(batch.tokens for batch in self.under_way.values())

    @property
    def has_room(self) -> bool:
        """Whether it can take another batch. Under load it usually cannot."""
        return len(self.under_way) < MOST_BATCHES

    @property
    def load(self) -> WorkerLoad:
        """Its load, for `next_dispatch`. The worker must be ready."""
        if self.ready is None:
            raise RuntimeError(f"worker {self.number} is not ready")
        exclusive = [batch.exclusive for batch in self.under_way.values()]
        return WorkerLoad(self.ready.concurrent, self.ready.batch_tokens, exclusive, self.tokens)

    def give(self, number: int, batch: Batch[Owner], texts: TokenBatch, output: Output) -> None:
        """Send a batch."""
        self.under_way[number] = batch
        if self._link is not None:
            self._link.send(Work(number, texts, batch.exclusive, output))

    def complete(self, answer: Vectors | Failed) -> tuple[Batch[Owner], float]:
        """Return the batch and the worker's busy time for it. Raises KeyError for an unknown batch.

        Busy time starts when the batch was sent or the previous one finished, whichever is later, so that the sum is
        correct for concurrent batches.
        """
        batch, now = self.under_way.pop(answer.batch), time.monotonic()
        busy = now - max(self._answered, batch.sent)
        self._answered = now
        return batch, busy

    def waited(self, seconds: float) -> tuple[Batch[Owner] | None, float]:
        """Return the oldest batch and how long it has been running. `seconds`: time since the last call."""
        number, batch = next(iter(self.under_way.items()), (None, None))
        self._waited = self._waited + seconds if number == self._oldest else 0.0
        self._oldest = number
        return batch, self._waited

    def close(self, reason: str | None) -> None:
        """Close the link. Only the first reason is kept."""
        if not self.closed.done():
            self.closed.set_result(reason)
        if self._link is not None:
            self._link.abort()
