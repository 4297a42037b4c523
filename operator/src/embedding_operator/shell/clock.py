"""Time as the shell sees it: an asyncio event loop is a clock, and a test brings its own."""

import asyncio
from collections.abc import Callable
from typing import Protocol

__all__ = ["Clock", "Timer", "sleep"]


class Timer(Protocol):
    """A call that has not happened yet."""

    def cancel(self) -> None:
        """It will not happen."""


class Clock(Protocol):
    """Seconds that only go forward, and calls at a later time."""

    def time(self) -> float:
        """Seconds since some moment in the past."""

    def call_later(self, delay: float, callback: Callable[[], object], /) -> Timer:
        """Call back, once, `delay` seconds from now."""


async def sleep(clock: Clock, seconds: float) -> None:
    """Wait that many seconds of the clock."""
    woken = asyncio.Event()
    timer = clock.call_later(seconds, woken.set)
    try:
        await woken.wait()
    finally:
        timer.cancel()
