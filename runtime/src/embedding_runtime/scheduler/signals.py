"""Handlers of SIGTERM and SIGINT in the scheduler's process."""

import asyncio
import logging
import signal
from collections.abc import Callable

from embedding_runtime.scheduler.engine import Engine

__all__ = ["StopSignals"]

_log = logging.getLogger(__name__)


class StopSignals:
    """Graceful shutdown: readiness goes off, requests finish within the grace period. A second signal stops at once."""

    def __init__(self, engine: Engine, grace_period: float, stop: Callable[..., None]) -> None:
        """`stop(now=...)` stops all frontends."""
        self.stop_requested = False
        self._engine, self._grace_period, self._stop = engine, grace_period, stop
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, signal.Signals(number).name)

    def _on_signal(self, name: str) -> None:
        if not self.stop_requested:
            _log.info("received %s: finishing queued and running requests within %g s", name, self._grace_period)
            limit = f"{self._grace_period:g} s (--grace_period)"
            message = f"the server is stopping, and the request did not finish within {limit}"
            asyncio.get_running_loop().call_later(self._grace_period, self._engine.fail, message)
        self._engine.stop()
        self._stop(now=self.stop_requested)
        self.stop_requested = True
