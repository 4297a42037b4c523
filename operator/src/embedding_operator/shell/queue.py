"""The line of keys that wait for a reconcile: each at most once, none worked on twice at a time."""

import asyncio
import random
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

from embedding_operator.shell.clock import Clock, Timer

__all__ = ["Backoff", "WorkQueue"]

K = TypeVar("K", bound=Hashable)

_DOUBLINGS = 30  # beyond any cap; keeps 2**n a small number however long something fails


@dataclass(frozen=True)
class Backoff:
    """How long a failing key waits, in seconds: doubling from `first` to `most`, less up to half by chance."""

    first: float = 1.0
    most: float = 300.0

    def seconds(self, failures: int, chance: float) -> float:
        """After that many failures in a row; `chance` in [0, 1) spreads keys that failed together."""
        full: float = min(self.most, self.first * 2 ** min(failures - 1, _DOUBLINGS))
        return full * (1 - chance / 2)


class WorkQueue(Generic[K]):
    """Keys in the order they came. For one event loop; no method but `get` waits.

    A key added while it waits is one key. A key added while it is worked on waits until that work is done.
    """

    def __init__(self, clock: Clock, backoff: Backoff, chance: Callable[[], float] = random.random) -> None:
        self._clock = clock
        self._backoff = backoff
        self._chance = chance
        self._line: asyncio.Queue[K] = asyncio.Queue()
        self._waiting: set[K] = set()
        self._under_way: set[K] = set()
        self._timers: dict[K, Timer] = {}
        self._failures: dict[K, int] = {}

    def __len__(self) -> int:
        """Keys that wait for their turn; those that wait for a time do not count."""
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Bring a key into the line, unless it is there."""
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._under_way:
            self._line.put_nowait(key)

    def add_later(self, key: K, seconds: float) -> None:
        """Bring a key into the line then; replaces the time that was set for it before."""
        self._forget_timer(key)
        self._timers[key] = self._clock.call_later(seconds, lambda: self.add(key))

    async def get(self) -> K:
        """The next key. The caller works on it, says how it went (`succeeded` or `failed`), and then `done`."""
        key = await self._line.get()
        self._waiting.discard(key)
        self._under_way.add(key)
        self._forget_timer(key)  # what it would remind of is about to be looked at
        return key

    def succeeded(self, key: K) -> None:
        """Its next failure is the first again."""
        self._failures.pop(key, None)

    def failed(self, key: K, retry_after: float | None = None) -> float:
        """Have the key come back, `retry_after` seconds from now or by its backoff; returns the seconds."""
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        seconds = self._backoff.seconds(failures, self._chance())
        if retry_after is not None:  # the first time as told; what goes on failing also backs off
            seconds = retry_after if failures == 1 else max(retry_after, seconds)
        self.add_later(key, seconds)
        return seconds

    def done(self, key: K) -> None:
        """The work on it has ended; if it was added meanwhile, it is in the line again."""
        self._under_way.discard(key)
        if key in self._waiting:
            self._line.put_nowait(key)

    def _forget_timer(self, key: K) -> None:
        if timer := self._timers.pop(key, None):
            timer.cancel()
