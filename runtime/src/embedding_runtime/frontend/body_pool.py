"""The memory pool of request bodies, over all requests, from the first byte until tokenization.

When the pool is full, a body of the principal that holds most is dropped: the upload without progress for the longest
time, or else the last body that waits for its turn. Stalled uploads therefore do not block others, and a client that
sends little is not rejected because of the bytes of others.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager
from enum import Enum, auto

from embedding_runtime.errors import Overloaded

__all__ = ["BodyPool", "HeldBody", "Stage", "no_memory"]

PROGRESS = 1 << 16
"""Bytes of an upload that count as progress."""


class Stage(Enum):
    """State of a body."""

    COMING = auto()
    WAITING = auto()
    """The request waits for its turn, or for response memory."""
    IN_USE = auto()
    """The body is being parsed and tokenized, and can no longer be dropped."""
    GIVEN_UP = auto()


class HeldBody:
    """The body of one request, from its first byte until it is released."""

    def __init__(self, pool: "BodyPool", principal: Hashable, now: float) -> None:
        self.principal = principal
        self.held = self.size = 0
        """Bytes in memory, and bytes received."""
        self.stage = Stage.COMING
        self.is_complete = False
        """Whether all of it was received."""
        self.progress_at = now
        """Time at which the last PROGRESS bytes were complete."""
        self.when_given_up: Callable[[], object] | None = None
        """Called when the pool drops the body. The callee must free its bytes."""
        self._since_progress = 0
        self._pool = pool

    def add(self, size: int, now: float) -> None:
        """Count received bytes. This may drop other bodies, or this one."""
        self.size += size
        self._since_progress += size
        if self._since_progress >= PROGRESS:
            self._since_progress, self.progress_at = 0, now
        self._pool.grow(self, size)

    def complete(self) -> None:
        """Mark the next added bytes as the last."""
        self.is_complete, self.stage = True, Stage.WAITING

    def release(self) -> None:
        """Release its bytes. May be called repeatedly."""
        self._pool.shrink(self, self.held)

    @asynccontextmanager
    async def waiting(self, more: int = 0) -> AsyncIterator[None]:
        """Allow the pool to drop the body while the request waits.

        `more`: bytes derived from the body, which count with it meanwhile. Raises Overloaded if it is dropped.
        """
        try:
            async with asyncio.timeout(None) as wait:
                self.when_given_up = lambda: wait.reschedule(0)
                self.stage = Stage.WAITING
                self._pool.grow(self, more)
                yield
        except TimeoutError:
            if self.stage is not Stage.GIVEN_UP:
                raise
        finally:
            self.when_given_up = None  # it refers to this call's frame, which refers to the body
        if self.stage is Stage.GIVEN_UP:
            raise no_memory()
        self._pool.shrink(self, more)
        self.stage = Stage.IN_USE

    def give_up(self) -> None:
        """Drop the body."""
        self.stage = Stage.GIVEN_UP
        self.release()
        if self.when_given_up is not None:
            self.when_given_up()

    @property
    def order(self) -> tuple[bool, float]:
        """Sort key: the first body in this order is dropped first."""
        waits = self.stage is Stage.WAITING
        return waits, -self.progress_at if waits else self.progress_at


class BodyPool:
    """The memory of all bodies. Times are seconds of a monotonic clock."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._by_principal: dict[Hashable, set[HeldBody]] = {}

    def body(self, principal: Hashable, now: float) -> HeldBody:
        """Create an empty body."""
        return HeldBody(self, principal, now)

    def grow(self, body: HeldBody, size: int) -> None:
        """Count bytes of a body, and drop bodies while the pool is full."""
        body.held += size
        self.used += size
        self._by_principal.setdefault(body.principal, set()).add(body)
        while self.used > self._limit and (victim := self._victim()) is not None:
            victim.give_up()

    def shrink(self, body: HeldBody, size: int) -> None:
        """Release bytes of a body."""
        body.held -= size
        self.used -= size
        if body.held:
            return
        bodies = self._by_principal.get(body.principal, set())
        bodies.discard(body)
        if not bodies:
            self._by_principal.pop(body.principal, None)

    def _victim(self) -> HeldBody | None:
        for bodies in sorted(self._by_principal.values(), key=lambda bodies: -sum(body.held for body in bodies)):
            if given_up := [body for body in bodies if body.stage in {Stage.COMING, Stage.WAITING}]:
                return min(given_up, key=lambda body: body.order)
        return None


def no_memory() -> Overloaded:
    """The error of a request whose body was dropped."""
    return Overloaded(
        "Server overloaded: the memory for request bodies is full, and this body was dropped", retry_after=1
    )
