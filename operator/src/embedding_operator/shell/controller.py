"""The workers: each takes a key, has it reconciled, and sees that a key that failed comes back."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Generic, TypeVar

from embedding_operator.errors import LeaseLost, OperatorFault
from embedding_operator.shell.queue import WorkQueue

__all__ = ["Controller"]

_log = logging.getLogger(__name__)

K = TypeVar("K")


class Controller(Generic[K]):
    """Runs `reconcile` on every key of the queue, `workers` of them at a time, until cancelled.

    `reconcile` answers when it wants to look at the key again although nothing happened, or None.
    """

    def __init__(
        self, queue: WorkQueue[K], reconcile: Callable[[K], Awaitable[timedelta | None]], *, workers: int
    ) -> None:
        self._queue = queue
        self._reconcile = reconcile
        self._workers = workers

    async def run(self) -> None:
        """Never returns. Raises LeaseLost, in an ExceptionGroup, when a write was stopped for it."""
        async with asyncio.TaskGroup() as group:
            for number in range(self._workers):
                group.create_task(self._work(), name=f"worker {number}")

    async def _work(self) -> None:
        while True:
            key = await self._queue.get()
            try:
                await self._attend(key)
            finally:
                self._queue.done(key)

    async def _attend(self, key: K) -> None:
        try:
            look_again = await self._reconcile(key)
        except LeaseLost:
            raise
        except OperatorFault as fault:
            seconds = self._queue.failed(key, fault.retry_after)
            _log.warning("%s: %s; trying again in %.0f s", key, fault, seconds)
        except Exception:  # noqa: BLE001 a fault of ours with one key must not stop the others
            seconds = self._queue.failed(key)
            _log.exception("%s: this is a bug in the operator; trying again in %.0f s", key, seconds)
        else:
            self._queue.succeeded(key)
            if look_again is not None:
                self._queue.add_later(key, look_again.total_seconds())
