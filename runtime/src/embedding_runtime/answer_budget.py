"""The memory for answers: how many bytes may be in the making or unread by clients, of all connections together.

A request for many vectors reserves its answer's size before anything is computed, and waits, first come first served,
while the answers of others fill the budget. What the client has read is given back.
"""

import asyncio
from collections import deque

__all__ = ["BYTES_PER_NUMBER", "AnswerBudget", "AnswerShare"]

BYTES_PER_NUMBER = 24
"""Peak of an answer in the making: float32, its text in JSON (10 to 12 bytes), and the whole body once more."""

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

    def _fits(self, size: int) -> bool:
        return self.used + size <= self._limit or len(self._holders) < ALWAYS

    def _changed(self, share: "AnswerShare", difference: int) -> None:
        self.used += difference
        if share.held:
            self._holders.add(share)
        else:
            self._holders.discard(share)
        while difference < 0 and self._waiting and self._fits(self._waiting[0][1]):
            other, size, granted = self._waiting.popleft()
            if not granted.done():
                other.grant(size)
                granted.set_result(None)


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

    async def reserve(self, size: int) -> None:
        """Wait for room for an answer of `size` bytes. It is given back by `written`, or by `close`."""
        budget = self._budget
        if size <= SMALL or self._closed:
            return
        if not budget._waiting and budget._fits(size):  # noqa: SLF001 two halves of one thing
            self.grant(size)
            return
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        budget._waiting.append((self, size, granted))  # noqa: SLF001
        await granted  # cancelled with the request: then it is passed over

    def grant(self, size: int) -> None:
        """Count `size` bytes as reserved, unless the connection is gone."""
        if not self._closed:
            self._reserved += size
            self._budget._changed(self, size)  # noqa: SLF001

    def written(self, unsent: int) -> None:
        """The answer is handed over to the transport, which holds `unsent` bytes now."""
        before = self.held
        self._reserved, self._unsent = 0, unsent
        if self.held != before:
            self._budget._changed(self, self.held - before)  # noqa: SLF001

    def sent(self) -> None:
        """The client has read what was written."""
        if self._unsent:
            unsent, self._unsent = self._unsent, 0
            self._budget._changed(self, -unsent)  # noqa: SLF001

    def close(self) -> None:
        """The connection is gone, and with it all that it held."""
        self.written(0)
        self._closed = True
