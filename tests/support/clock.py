"""A clock that tests advance, and helpers to wait for other tasks."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = ["ManualClock", "eventually", "settle"]


@dataclass
class _Call:
    due: float
    callback: Callable[[], object]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class ManualClock:
    """A clock that stands still until `advance`."""

    now: float = 1000.0
    calls: list[_Call] = field(default_factory=list)

    def time(self) -> float:
        return self.now

    def call_later(self, delay: float, callback: Callable[[], object], /) -> _Call:
        self.calls.append(_Call(self.now + delay, callback))
        return self.calls[-1]

    async def advance(self, seconds: float) -> None:
        """Advance the time and run the callbacks that are due, in order."""
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
    """Run all tasks until each waits for time or the network."""
    for _ in range(20):
        await asyncio.sleep(0)


async def eventually(holds: Callable[[], object], *, within: float = 60.0) -> None:
    """Run the event loop until a condition holds. Raises TimeoutError."""
    async with asyncio.timeout(within):
        while not holds():  # noqa: ASYNC110 what is waited for is in another process or a socket away
            await asyncio.sleep(0)
