"""The memory budget of responses: bytes that are being written or not yet read by clients, over all connections.

A request for many vectors reserves the size of its response after tokenization, and waits while the budget is used up.
Released memory goes to the first waiting request that fits, so that unread responses delay large requests, but not
small ones.
"""

import asyncio
from collections import deque

__all__ = ["AnswerBudget", "AnswerShare"]

SMALL = 1 << 16
"""A response of at most this many bytes, which fit into a socket's buffer, reserves nothing."""

ALWAYS = 2
"""Connections that may always hold a response, whatever its size."""


class AnswerBudget:
    """Memory for the responses of all connections. Use it on one event loop only."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[AnswerShare] = set()
        self._waiting: deque[tuple[AnswerShare, int, asyncio.Future[None]]] = deque()
        self.used = 0

    def share(self) -> "AnswerShare":
        """Create the share of a new connection."""
        return AnswerShare(self)

    def has_room(self, size: int) -> bool:
        """Whether `size` bytes are available."""
        return self.used + size <= self._limit or len(self._holders) < ALWAYS

    async def room(self, share: "AnswerShare", size: int) -> None:
        """Wait until the share has been granted `size` bytes, or is closed."""
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waiter = share, size, granted
        self._waiting.append(waiter)
        try:
            await granted
        except asyncio.CancelledError:
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                self._grant()
            raise

    def changed(self, share: "AnswerShare", difference: int) -> None:
        """Update the size of a share."""
        self.used += difference
        if share.held:
            self._holders.add(share)
        else:
            self._holders.discard(share)
        self._grant()

    def _grant(self) -> None:
        """Grant memory to waiting requests that fit, in order."""
        for waiter in tuple(self._waiting):
            share, size, granted = waiter
            if self.has_room(size) and waiter in self._waiting:
                self._waiting.remove(waiter)
                if not granted.done():  # it may just have been cancelled
                    granted.set_result(None)
                    share.grant(size)


class AnswerShare:
    """One connection's part of the budget."""

    def __init__(self, budget: AnswerBudget) -> None:
        self._budget = budget
        self._reserved = 0
        """Bytes reserved for the response that is being written."""
        self._unsent = 0
        """Bytes of written responses that are not yet sent."""
        self._closed = False

    @property
    def held(self) -> int:
        """The size of the share in bytes."""
        return self._reserved + self._unsent

    def reserve_now(self, size: int) -> bool:
        """Reserve `size` bytes, or return False. `written` and `close` release them."""
        if size <= SMALL or self._closed:
            return True
        if self._budget.has_room(size):
            self.grant(size)
            return True
        return False

    async def reserve(self, size: int) -> None:
        """Wait until `size` bytes are available, and reserve them."""
        await self._budget.room(self, size)

    def grant(self, size: int) -> None:
        """Count `size` bytes as reserved, unless the connection is closed."""
        if not self._closed:
            self._reserved += size
            self._budget.changed(self, size)

    def exchange(self, size: int) -> bool:
        """Reserve `size` bytes instead of those reserved so far. If they are more, reserve nothing, and return False.

        A share never waits for more: two that hold some could wait for each other.
        """
        kept = size if size <= self._reserved else 0
        self.grant(kept - self._reserved)
        return kept == size

    def written(self, unsent: int) -> None:
        """The response was passed to the transport, which holds `unsent` bytes of it."""
        before = self.held
        self._reserved, self._unsent = 0, unsent
        if self.held != before:
            self._budget.changed(self, self.held - before)

    def sent(self) -> None:
        """The client has read everything."""
        if self._unsent:
            unsent, self._unsent = self._unsent, 0
            self._budget.changed(self, -unsent)

    def close(self) -> None:
        """The connection is closed; release everything."""
        self.written(0)
        self._closed = True
