"""A clock that a test turns by hand, and waiting for what other tasks do."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["HandClock", "eventually", "settle"]


@dataclass
class _Call:
    due: float
    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class HandClock:
    """Stands still until it is advanced."""

    now: float = 1000.0
    calls: list[_Call] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Call:
        self.calls.append(_Call(self.now + delay, callback))
        return self.calls[-1]

    async def advance(self, seconds: float) -> None:
        """Let that much time pass, with all that was to happen in it, in order."""
        end = self.now + seconds
        await settle()
        while due := [call for call in self.calls if call.due <= end and not call.cancelled]:
            first = min(due, key=lambda call: call.due)
            self.calls.remove(first)
            self.now = max(self.now, first.due)
            first.callback()
            await settle()
        self.now = end


async def settle() -> None:
    """Give every task its turn until none has anything left to do at once (network aside)."""
    for _ in range(20):
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], object], *, within: float = 10.0) -> None:
    """Let the event loop turn until it holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 what is waited for is in another process or a socket away
            await asyncio.sleep(0)
