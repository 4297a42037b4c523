"""SIGTERM and SIGINT, in the process that has the scheduler."""

import asyncio
import logging
import signal
from collections.abc import Callable

from embedding_runtime.scheduler.engine import Engine

__all__ = ["StopSignals"]

_log = logging.getLogger(__name__)


class StopSignals:
    """Readiness off, and what is under way is finished within the grace period. Asked twice: at once."""

    def __init__(self, engine: Engine, grace_period: float, stop: Callable[..., None]) -> None:
        """`stop(now=...)` ends the frontend, or all of them."""
        self.asked_to_stop = False
        self._engine, self._grace_period, self._stop = engine, grace_period, stop
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked, signal.Signals(number).name)

    def _asked(self, name: str) -> None:
        if not self.asked_to_stop:
            _log.info("received %s: finishing queued and running requests within %g s", name, self._grace_period)
            limit = f"{self._grace_period:g} s (--grace_period)"
            message = f"the server is stopping, and the request did not finish within {limit}"
            asyncio.get_running_loop().call_later(self._grace_period, self._engine.fail, message)
        self._engine.stop()
        self._stop(now=self.asked_to_stop)
        self.asked_to_stop = True
