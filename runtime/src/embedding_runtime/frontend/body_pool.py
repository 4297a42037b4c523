"""The memory for bodies: how many bytes of them are held, of all requests together, until they are tokenized.

Where they fill the pool, a body is given up: of the principal that holds most, the upload that has made no progress for
longest, else the last body that waits for its turn. So stalled uploads make room for those that come in, and whoever
sends little is not refused for the bytes of others.
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
    """How far a body is."""

    COMING = auto()
    WAITING = auto()
    """Its request waits for its turn, or for memory for its answer."""
    IN_USE = auto()
    """It is being parsed and tokenized, and not given up any more."""
    GIVEN_UP = auto()


class HeldBody:
    """One request's body, from its first byte until it is not needed any more."""

    def __init__(self, pool: "BodyPool", principal: Hashable, now: float) -> None:
        self.principal = principal
        self.held = self.size = 0
        """Bytes; `size` with those that are not held any more."""
        self.stage = Stage.COMING
        self.is_complete = False
        """Whether all of it came."""
        self.progress_at = now
        """When the last PROGRESS bytes had come."""
        self.when_given_up: Callable[[], object] = lambda: None
        """Called when the pool takes the memory back; whoever has the bytes drops them."""
        self._since_progress = 0
        self._pool = pool

    def add(self, size: int, now: float) -> None:
        """So many bytes came. Others may be given up for them, or this one."""
        self.size += size
        self._since_progress += size
        if self._since_progress >= PROGRESS:
            self._since_progress, self.progress_at = 0, now
        self._pool.grow(self, size)

    def complete(self) -> None:
        """The bytes that are added next are its last."""
        self.is_complete, self.stage = True, Stage.WAITING

    def release(self) -> None:
        """Its bytes are not held any more. May be called again."""
        self._pool.shrink(self, self.held)

    @asynccontextmanager
    async def waiting(self, more: int = 0) -> AsyncIterator[None]:
        """The request waits, with `more` bytes made of its body: all may be given up. Raises Overloaded where it is."""
        try:
            async with asyncio.timeout(None) as wait:
                self.when_given_up = lambda: wait.reschedule(0)
                self.stage = Stage.WAITING
                self._pool.grow(self, more)
                yield
        except TimeoutError:
            if self.stage is not Stage.GIVEN_UP:
                raise
        if self.stage is Stage.GIVEN_UP:
            raise no_memory()
        self._pool.shrink(self, more)
        self.stage = Stage.IN_USE

    def give_up(self) -> None:
        """Take its memory back."""
        self.stage = Stage.GIVEN_UP
        self.release()
        self.when_given_up()

    @property
    def order(self) -> tuple[bool, float]:
        """Of several bodies, the first in this order is given up."""
        waits = self.stage is Stage.WAITING
        return waits, -self.progress_at if waits else self.progress_at


class BodyPool:
    """Bytes of all bodies. Times are seconds of one clock that does not go back."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0
        self._by_principal: dict[Hashable, set[HeldBody]] = {}

    def body(self, principal: Hashable, now: float) -> HeldBody:
        """A new one, which holds nothing yet."""
        return HeldBody(self, principal, now)

    def grow(self, body: HeldBody, size: int) -> None:
        """A body holds so many bytes more. Some are given up for them where the pool is full."""
        body.held += size
        self.used += size
        self._by_principal.setdefault(body.principal, set()).add(body)
        while self.used > self._limit and (victim := self._victim()) is not None:
            victim.give_up()

    def shrink(self, body: HeldBody, size: int) -> None:
        """A body holds so many bytes less."""
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
    """What a request gets whose body was given up."""
    return Overloaded("the bodies of requests fill the memory for them, and this one was given up", retry_after=1)
