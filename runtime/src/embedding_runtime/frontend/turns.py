"""One at a time, and principals take turns: a lock for work that is too large to be done at once for all."""

import asyncio
from collections import deque
from collections.abc import Hashable

__all__ = ["Turns"]


class Turns:
    """Lives on one event loop. Within a principal, first come, first served."""

    def __init__(self) -> None:
        self._is_taken = False
        self._waiting: dict[Hashable, deque[asyncio.Future[None]]] = {}

    async def acquire(self, principal: Hashable) -> None:
        """Wait for a turn. `release` ends it."""
        if not self._is_taken:
            self._is_taken = True
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(principal, deque()).append(turn)
        try:
            await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.release()  # it had just begun
            raise

    def release(self) -> None:
        """The next one's turn, of the principal that has waited for longest since its last one."""
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
