"""The pool of workers: starts them, kills a stuck one, and restarts a lost one."""

import asyncio
import collections
import logging
import socket
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Generic, Protocol

from embedding_runtime.protocol.messages import Broken, Failed, Message, Ready, Vectors
from embedding_runtime.scheduler.parts import Owner
from embedding_runtime.scheduler.worker_link import Batch, WorkerLink

__all__ = ["BatchReceiver", "PoolUser", "WorkerPool", "Workers"]

_log = logging.getLogger(__name__)

TICK_SECONDS = 0.5
"""Interval in which workers are checked for stuck batches."""

MAX_RESTARTS = 3
"""Maximum number of restarts within RESTART_SECONDS. The server stops if one more worker is lost."""

RESTART_SECONDS = 600


class Workers(Protocol):
    """The processes of the workers."""

    @property
    def count(self) -> int:
        """The number of workers; they are numbered from 0."""
        ...

    def start(self, number: int) -> socket.socket:
        """Start a worker, and return our end of the socket to it."""
        ...

    async def ended(self, number: int) -> tuple[str, int]:
        """Wait for the worker's process to exit.

        Returns how it ended, and the exit code of the server if this stops it.
        """
        ...


class PoolUser(Protocol):
    """Receiver of the pool's events."""

    def loaded(self, ready: Ready) -> None:
        """A worker is ready. `all_loaded` says whether every worker has been ready once."""
        ...

    def fail(self, reason: str, *, exit_code: int = 1) -> None:
        """The pool cannot continue. `exit_code`: exit code of the server."""
        ...


class BatchReceiver(Protocol[Owner]):
    """Receiver of the batches that workers have had."""

    def answered(self, worker: WorkerLink[Owner], answer: Vectors | Failed) -> None:
        """A worker has finished a batch. Raises KeyError and ValueError for an invalid answer."""
        ...

    def lost(self, batches: Sequence[Batch[Owner]]) -> None:
        """A worker with these batches was lost and will be restarted."""
        ...


class WorkerPool(Generic[Owner]):
    """Workers by number. Use it on one event loop only."""

    def __init__(self, user: PoolUser, batches: BatchReceiver[Owner], timeout: Callable[[int], float]) -> None:
        """`timeout`: seconds after which a batch with this many tokens counts as stuck."""
        self._user, self._batches, self._timeout = user, batches, timeout
        self._workers: dict[int, WorkerLink[Owner]] = {}
        self._loading: set[int] = set()
        """Numbers of workers that have never been ready."""
        self._restarts: collections.deque[float] = collections.deque(maxlen=MAX_RESTARTS)
        self._is_closed = False

    @property
    def ready(self) -> Sequence[WorkerLink[Owner]]:
        """The ready workers."""
        return [worker for worker in self._workers.values() if worker.ready is not None and not worker.closed.done()]

    @property
    def tokens(self) -> int:
        """Tokens of all running batches."""
        return sum(worker.tokens for worker in self._workers.values())

    @property
    def all_loaded(self) -> bool:
        """Whether every worker has been ready once."""
        return not self._loading

    async def run(self, workers: Workers) -> None:
        """Start the workers and keep them running. Returns once the pool is closed and they have exited."""
        self._loading = set(range(workers.count))
        watching = asyncio.create_task(self._watch())
        watching.add_done_callback(self._unwatched)
        try:
            await asyncio.gather(*(self._keep(number, workers) for number in range(workers.count)))
        finally:
            watching.cancel()

    def close(self, reason: str) -> None:
        """Stop all workers."""
        self._is_closed = True
        for worker in self._workers.values():
            worker.close(reason)

    async def _keep(self, number: int, workers: Workers) -> None:
        """Keep the worker of this number running until the pool is closed."""
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
            self._batches.lost(tuple(worker.under_way.values()))
            await workers.ended(number)

    def _replaces(self, number: int, reason: str) -> bool:
        """Whether to restart a lost worker; otherwise the server fails."""
        now = time.monotonic()
        too_many = len(self._restarts) == MAX_RESTARTS and now - self._restarts[0] < RESTART_SECONDS
        if self._loading or not self.ready or too_many:
            return False
        self._restarts.append(now)
        _log.error("restarting worker %d, with %d others left: %s", number, len(self.ready), reason)
        return True

    def _handle(self, worker: WorkerLink[Owner], message: Message) -> None:
        match message:
            case Vectors() | Failed():
                self._batches.answered(worker, message)
            case Ready():
                worker.ready = message
                if worker.number not in self._loading:
                    _log.info("worker %d is ready again", worker.number)
                self._loading.discard(worker.number)
                self._user.loaded(message)
            case Broken(reason):
                worker.close(reason)

    async def _watch(self) -> None:
        """Kill workers that are stuck.

        It counts its own ticks instead of reading the clock, so that no worker counts as stuck after all processes were
        frozen.
        """
        while True:
            await asyncio.sleep(TICK_SECONDS)
            for worker in list(self._workers.values()):
                batch, waited = worker.waited(TICK_SECONDS)
                if batch and waited > self._timeout(batch.tokens):
                    worker.close(
                        f"the worker is stuck: a batch of {batch.tokens} tokens did not finish in {waited:g} s"
                    )

    def _unwatched(self, watching: asyncio.Task[None]) -> None:
        """Fail if the watchdog itself fails."""
        if not watching.cancelled() and (error := watching.exception()):
            self._user.fail(f"the watchdog of the workers failed: {error!r}")
