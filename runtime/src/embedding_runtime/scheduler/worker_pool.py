"""Keeps the workers: starts them, ends one that is stuck, and replaces one that is lost."""

import asyncio
import collections
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol

from embedding_runtime.protocol.messages import Broken, Failed, Message, Ready, Vectors
from embedding_runtime.scheduler.worker_link import Batch, Owner, WorkerLink

__all__ = ["PoolUser", "WorkerPool", "Workers"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""How often the workers are checked for batches that take too long."""

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

    async def ended(self, number: int) -> tuple[str, int]:
        """Wait until the worker's process is gone. How it ended, and the exit code of a server that ends with it."""
        ...


class PoolUser(Protocol[Owner]):
    """Whoever the workers compute for."""

    def loaded(self, ready: Ready) -> None:
        """A worker computes from now on; `all_loaded` says whether others are still loading for the first time."""
        ...

    def answered(self, worker: WorkerLink[Owner], answer: Vectors | Failed) -> None:
        """A worker is done with a batch. Raises KeyError and ValueError for an answer that cannot be."""
        ...

    def lost(self, batches: Sequence[Batch[Owner]]) -> None:
        """A worker is lost and will be replaced; it had these batches."""
        ...

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """The workers cannot go on. `exit_code`: the server's."""
        ...


class WorkerPool(Generic[Owner]):
    """Workers of the numbers 0, 1... Lives on one event loop."""

    def __init__(self, user: PoolUser[Owner], timeout: Callable[[int], float]) -> None:
        """`timeout`: seconds for a batch of so many tokens, after which its worker is stuck."""
        self._user, self._timeout = user, timeout
        self._workers: dict[int, WorkerLink[Owner]] = {}
        self._loading: set[int] = set()
        """Workers that have not been ready yet."""
        self._restarts: collections.deque[float] = collections.deque(maxlen=MAX_RESTARTS)
        self._is_closed = False

    @property
    def ready(self) -> Sequence[WorkerLink[Owner]]:
        """The workers that compute."""
        return [worker for worker in self._workers.values() if worker.ready is not None and not worker.closed.done()]

    @property
    def tokens(self) -> int:
        """In batches that workers have been given and not answered."""
        return sum(worker.tokens for worker in self._workers.values())

    @property
    def all_loaded(self) -> bool:
        """Every worker has been ready once."""
        return not self._loading

    async def run(self, workers: Workers) -> None:
        """Start the workers and keep them. Returns once the pool is closed and they are gone."""
        self._loading = set(range(workers.count))
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._unwatched)
        try:
            await asyncio.gather(*(self._keep(number, workers) for number in range(workers.count)))
        finally:
            watching.cancel()

    def close(self, reason: str) -> None:
        """End all workers."""
        self._is_closed = True
        for worker in self._workers.values():
            worker.close(reason)

    async def _keep(self, number: int, workers: Workers) -> None:
        """Have a worker of this number, until the pool is closed."""
        while not self._is_closed:
            worker: WorkerLink[Owner] = WorkerLink(number)
            self._workers[number] = worker
            await worker.connect(workers.start(number), partial(self._handle, worker))
            known = await worker.closed
            del self._workers[number]
            reason, exit_code = (known, 1) if known else await workers.ended(number)
            if self._is_closed:
                break
            if not self._replaces(number, reason):
                self._user.fail(reason, exit_code=exit_code)
                break
            self._user.lost(tuple(worker.under_way.values()))
            await workers.ended(number)

    def _replaces(self, number: int, reason: str) -> bool:
        """Whether the server goes on without a worker that was lost, until another one takes its place."""
        now = time.monotonic()
        too_many = len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < RESTART_SECONDS
        if self._loading or not self.ready or too_many:
            return False
        self._restarts.append(now)
        _log.error("worker %d is lost, and started again; %d are left: %s", number, len(self.ready), reason)
        return True

    def _handle(self, worker: WorkerLink[Owner], message: Message) -> None:
        match message:
            case Vectors() | Failed():
                self._user.answered(worker, message)
            case Ready():
                worker.ready = message
                if worker.number not in self._loading:
                    _log.info("worker %d is ready again", worker.number)
                self._loading.discard(worker.number)
                self._user.loaded(message)
            case Broken(reason):
                worker.close(reason)

    async def _watch(self) -> None:
        """Ends a worker that does not answer.

        Counts its own ticks, not the clock's: where all processes were frozen, none was stuck.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in list(self._workers.values()):
                batch, waited = worker.waited(TICK_SECONDS)
                if batch and waited > self._timeout(batch.tokens):
                    worker.close(f"the worker is stuck: no answer to a batch of {batch.tokens} tokens for {waited:g} s")

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """A server whose workers nobody watches ends, too."""
        if not watching.cancelled() and (error := watching.exception()):
            self._user.fail(f"the workers cannot be watched: {error!r}")
