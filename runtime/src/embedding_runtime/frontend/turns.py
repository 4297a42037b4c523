"""A lock that is fair by principal, for large work that must not run concurrently."""

import asyncio
from collections import deque
from collections.abc import Hashable

__all__ = ["Turns"]


class Turns:
    """A fair lock. First come, first served within a principal. Use it on one event loop only."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def acquire(self, principal: Hashable) -> None:
        """Wait for the lock."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(principal, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it had just been acquired
            raise

    def release(self) -> None:
        """Pass the lock on, to the principal whose last turn was the longest ago."""
        while self._waiting:
            principal, turns = next(iter(self._waiting.items()))
            del self._waiting[principal]
            turn = turns.popleft()
            if turns:
                self._waiting[principal] = turns  # at the end
            if not turn.done():
                turn.set_result(None)
                return
        self._is_taken = False
