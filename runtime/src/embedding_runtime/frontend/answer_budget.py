"""The memory for answers: how many bytes may be in the making or unread by clients, of all connections together.

A request for many vectors reserves its answer's size once it is tokenized, and waits while the answers of others fill
the budget. What the client has read is given back to the first of those that wait for which it is enough: answers
that nobody reads keep large ones waiting, not small ones.
"""

import asyncio
from collections import deque

__all__ = ["BYTES_PER_NUMBER", "BYTES_PER_SCORE", "AnswerBudget", "AnswerShare"]

BYTES_PER_NUMBER = 24
"""Peak of an answer in the making: float32, its text in JSON (10 to 12 bytes), and the whole body once more."""

BYTES_PER_SCORE = 256
"""As much of a score, or of a label's probability: a dict of Python, its name, and 40 characters of JSON or more."""

SMALL = 1 << 16
"""Bytes of an answer that reserves nothing: a socket's buffer holds as much."""

ALWAYS = 2
"""Connections whose answers may be in the making together, however large each of them is."""


class AnswerBudget:
    """Bytes for the answers of all connections. Lives on one event loop."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._holders: set[AnswerShare] = set()
        self._waiting: deque[tuple[AnswerShare, int, asyncio.Future[None]]] = deque()
        self.used = 0

    def share(self) -> "AnswerShare":
        """A new connection's."""
        return AnswerShare(self)

    def has_room(self, size: int) -> bool:
        """Whether there is so much."""
        return self._fits(size)

    async def room(self, share: "AnswerShare", size: int) -> None:
        """Wait until the share has been granted so much, or is closed."""
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
        """A share holds more or less."""
        self.used += difference
        if share.held:
            self._holders.add(share)
        else:
            self._holders.discard(share)
        self._grant()

    def _grant(self) -> None:
        """Let those in that have room now, in their order."""
        for waiter in tuple(self._waiting):
            share, size, granted = waiter
            if self._fits(size) and waiter in self._waiting:
                self._waiting.remove(waiter)
                if not granted.done():  # else it has just been cancelled
                    granted.set_result(None)
                    share.grant(size)

    def _fits(self, size: int) -> bool:
        return self.used + size <= self._limit or len(self._holders) < ALWAYS


class AnswerShare:
    """One connection's part of the budget."""

    def __init__(self, budget: AnswerBudget) -> None:
        self._budget = budget
        self._reserved = 0
        """For the answer in the making."""
        self._unsent = 0
        """Of answers that are written, still in this process."""
        self._closed = False

    @property
    def held(self) -> int:
        """Bytes."""
        return self._reserved + self._unsent

    def reserve_now(self, size: int) -> bool:
        """Reserve room for an answer of `size` bytes; False: there is none. `written` or `close` gives it back."""
        if size <= SMALL or self._closed:
            return True
        if self._budget.has_room(size):
            self.grant(size)
            return True
        return False

    async def reserve(self, size: int) -> None:
        """As `reserve_now`, once there is room."""
        await self._budget.room(self, size)

    def grant(self, size: int) -> None:
        """Count `size` bytes as reserved, unless the connection is gone."""
        if not self._closed:
            self._reserved += size
            self._budget.changed(self, size)

    def written(self, unsent: int) -> None:
        """The answer is handed over to the transport, which holds `unsent` bytes now."""
        before = self.held
        self._reserved, self._unsent = 0, unsent
        if self.held != before:
            self._budget.changed(self, self.held - before)

    def sent(self) -> None:
        """The client has read what was written."""
        if self._unsent:
            unsent, self._unsent = self._unsent, 0
            self._budget.changed(self, -unsent)

    def close(self) -> None:
        """The connection is gone, and with it all that it held."""
        self.written(0)
        self._closed = True
