"""The workers: each takes a key, has it reconciled, and schedules the retry of a key that failed."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Hashable
from datetime import timedelta
from typing import Generic, TypeVar

from embedding_operator.errors import Bug, Conflict, Fault, LeaseLost
from embedding_operator.shell.clock import Clock
from embedding_operator.shell.logs import reconciling
from embedding_operator.shell.metrics import Metrics
from embedding_operator.shell.queue import WorkQueue

__all__ = ["Workers"]

_log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)


class Workers(Generic[K]):
    """Runs `reconcile` on every key of the queue, some at a time, until cancelled.

    `reconcile` returns how long from now it wants the key again although nothing happens, or None; it raises Fault.
    Before each key, `may_work` is awaited: it returns when this process leads.
    """

    def __init__(
        self,
        queue: WorkQueue[K],
        reconcile: Callable[[K], Awaitable[timedelta | None]],
        clock: Clock,
        *,
        number: int,
        may_work: Callable[[], Awaitable[None]],
        metrics: Metrics,
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._clock = clock
        self._number = number
        self._may_work = may_work
        self._metrics = metrics
        self._began: dict[K, float] = {}

    @property
    def longest(self) -> float:
        """Seconds that the longest reconcile has been under way."""
        return self._clock.time() - min(self._began.values()) if self._began else 0.0

    async def run(self) -> None:
        """Never returns."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._number):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while True:
            await self._may_work()
            key = await self._queue.get()
            self._began[key] = self._clock.time()
            try:
                with reconciling(key):
                    result = await self._process(key)
            finally:
                began = self._began.pop(key)
                self._queue.done(key)
            self._metrics.reconciled(result, self._clock.time() - began)

    async def _process(self, key: K) -> str:
        """Reconcile a key; the outcome, for the log and metrics."""
        try:
            requeue_after = await self._reconcile(key)
        except LeaseLost as fault:
            _log.info("%s: %s", key, fault)
            self._queue.add(key)
            return "not leading"
        except Conflict as fault:
            self._queue.failed(key, fault.retry_after)
            _log.info("%s: %s; reading again", key, fault)
            self._metrics.failed(fault)
            return "conflict"
        except Fault as fault:
            seconds = self._queue.failed(key, fault.retry_after)
            _log.warning("%s: %s; again in %.0f s", key, fault, seconds)
            self._metrics.failed(fault)
            return "error"
        except Exception as error:  # noqa: BLE001 a bug with one key must not stop the others
            seconds = self._queue.failed(key)
            _log.exception("%s: a bug in the operator; again in %.0f s", key, seconds)
            self._metrics.failed(Bug(error))
            return "error"
        self._queue.succeeded(key)
        if requeue_after is not None:
            self._queue.add_later(key, requeue_after.total_seconds())
        return "success"
