"""The queue of keys that wait for a reconcile: each at most once, none reconciled twice at a time, fair to all.

Users' changes go before events of children, these before resyncs and what a storage container's change concerns; at
each level namespaces take turns, so that one with a thousand services does not keep another's one waiting.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Generic, TypeVar

from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.clock import Clock, Timer

__all__ = ["Priority", "WorkQueue"]

K = TypeVar("K", bound=Hashable)


class Priority(IntEnum):
    """Smaller goes first."""

    USER = 0
    """A user created the object, or changed its spec."""
    CHILD = 1
    """Something that was made for it changed, or the time has come that the last reconcile asked for."""
    RESYNC = 2
    """It was listed, or something changed that concerns many."""


@dataclass
class _Key:
    """What is known of one key: it is here while it waits, is reconciled or has failed."""

    since: float | None = None
    """When it became due; None while it is not."""
    priority: Priority = Priority.RESYNC
    is_running: bool = False
    timer: Timer | None = None
    due_at: float = 0.0
    failures: int = 0
    not_before: float = 0.0
    """Its backoff: an event in between does not cut it short."""

    @property
    def is_idle(self) -> bool:
        return self.since is None and not self.is_running and self.timer is None and not self.failures


@dataclass
class _Lane(Generic[K]):
    """Keys of one priority, by namespace; the namespaces take turns."""

    turns: OrderedDict[str | None, deque[K]] = field(default_factory=OrderedDict)

    def push(self, group: str | None, key: K) -> None:
        self.turns.setdefault(group, deque()).append(key)

    def pop(self) -> K | None:
        if not self.turns:
            return None
        group, keys = self.turns.popitem(last=False)
        key = keys.popleft()
        if keys:
            self.turns[group] = keys  # at the end: the others first
        return key


class WorkQueue(Generic[K]):
    """For one event loop; no method but `get` waits. `group` names what takes turns, a key's namespace.

    A key that is added while it waits is one key; its priority is the highest that was asked for. A key that is added
    while it is reconciled waits until that is done.
    """

    def __init__(
        self,
        clock: Clock,
        backoff: Backoff,
        *,
        group: Callable[[K], str | None] = lambda _: None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._clock = clock
        self._backoff = backoff
        self._group = group
        self._chance = chance
        self._lanes: dict[Priority, _Lane[K]] = {priority: _Lane() for priority in Priority}
        self._keys: dict[K, _Key] = {}
        self._available = asyncio.Event()

    def __len__(self) -> int:
        """Keys that are due; those that wait for a time do not count."""
        return sum(1 for each in self._keys.values() if each.since is not None)

    @property
    def oldest(self) -> float:
        """Seconds that the key which is due for the longest time has waited."""
        due = [each.since for each in self._keys.values() if each.since is not None]
        return self._clock.time() - min(due) if due else 0.0

    def add(self, key: K, priority: Priority = Priority.CHILD, *, delay: float = 0.0) -> None:
        """Have a key reconciled, `delay` seconds from now at the earliest: what happens until then is one reconcile.

        A key that failed waits for the end of its backoff, unless its user changed it.
        """
        known = self._keys.setdefault(key, _Key())
        if priority is Priority.USER:
            known.not_before, known.failures, delay = 0.0, 0, 0.0
        now = self._clock.time()
        due_at = max(now + delay, known.not_before)
        if known.since is not None:
            if priority < known.priority:
                self._enqueue(key, known, priority)  # the entry in the lane below is passed over
        elif due_at <= now:
            known.since = now
            self._stop_timer(known)
            self._enqueue(key, known, priority)
        else:
            self._at(key, known, due_at, min(priority, known.priority) if known.timer else priority)

    def add_later(self, key: K, seconds: float, priority: Priority = Priority.CHILD) -> None:
        """Have a key reconciled after a delay. The earliest request counts."""
        self.add(key, priority, delay=seconds)

    async def get(self) -> K:
        """The next key. The caller reconciles it, says how that went (`succeeded` or `failed`), and then `done`."""
        while True:
            for lane in self._lanes.values():
                while (key := lane.pop()) is not None:
                    if self._take(key):
                        return key
            self._available.clear()
            await self._available.wait()

    def succeeded(self, key: K) -> None:
        """Its next failure is the first again."""
        self._keys[key].failures = 0
        self._keys[key].not_before = 0.0

    def failed(self, key: K, retry_after: float | None = None) -> float:
        """Have the key come back, `retry_after` seconds from now or by its backoff; returns the seconds."""
        known = self._keys.setdefault(key, _Key())
        known.failures += 1
        seconds = self._backoff.seconds(known.failures, self._chance())
        if retry_after is not None:  # the first time as requested; repeated failures also back off
            seconds = retry_after if known.failures == 1 else max(retry_after, seconds)
        known.not_before = self._clock.time() + seconds
        if known.since is None:
            self._at(key, known, known.not_before, Priority.CHILD)
        return seconds

    def failures(self, key: K) -> int:
        """How often in a row it has failed."""
        known = self._keys.get(key)
        return known.failures if known else 0

    def done(self, key: K) -> None:
        """The reconcile has ended; if the key was added meanwhile, it is due again, after its backoff if it failed."""
        known = self._keys[key]
        known.is_running = False
        if known.since is not None:
            known.since = None
            self.add(key, known.priority, delay=max(0.0, known.not_before - self._clock.time()))
        if known.is_idle:
            del self._keys[key]

    def forget(self, key: K) -> None:
        """The key's object was deleted: forget its failures and scheduled times."""
        if known := self._keys.get(key):
            self._stop_timer(known)
            known.failures, known.not_before = 0, 0.0
            if known.is_idle:
                del self._keys[key]

    def _take(self, key: K) -> bool:
        """Whether the key is still due: it may have been taken from a lane above, or be running."""
        known = self._keys.get(key)
        if known is None or known.since is None or known.is_running:
            return False
        known.since, known.is_running, known.priority = None, True, Priority.RESYNC
        self._stop_timer(known)
        return True

    def _enqueue(self, key: K, known: _Key, priority: Priority) -> None:
        known.priority = priority
        if not known.is_running:
            self._lanes[priority].push(self._group(key), key)
            self._available.set()

    def _at(self, key: K, known: _Key, due_at: float, priority: Priority) -> None:
        """Be due then, or at the earlier time that was set before; never within the backoff."""
        known.priority = priority
        if known.timer is not None:
            if max(known.due_at, known.not_before) <= due_at and known.due_at >= known.not_before:
                return
            known.timer.cancel()
        known.due_at = due_at
        known.timer = self._clock.call_later(due_at - self._clock.time(), lambda: self._on_timer(key))

    def _on_timer(self, key: K) -> None:
        known = self._keys[key]
        known.timer = None
        self.add(key, known.priority)

    def _stop_timer(self, known: _Key) -> None:
        if known.timer is not None:
            known.timer.cancel()
            known.timer = None
