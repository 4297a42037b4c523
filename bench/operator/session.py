"""Shared by the phases: the clients, the running operator, and the time when it became idle."""

import asyncio
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Self

import aiohttp

from bench.operator.client import Client
from bench.operator.counts import Counts
from bench.operator.fleet import Fleet
from bench.operator.operator_process import Operator

__all__ = ["Controls", "Moment", "Session"]

_REST = 5.0
"""The operator is idle after so many seconds without requests and work."""
_BUSY = 0.1
"""Share of a core above which the operator counts as working."""
_SAMPLE = 0.5
_POLL = 0.1
_SAY_EVERY = 15.0


class Controls:
    """The second port of the proxy."""

    def __init__(self, session: aiohttp.ClientSession, port: int) -> None:
        self._session = session
        self._url = f"http://127.0.0.1:{port}"

    async def counts(self) -> Counts:
        """The traffic since the proxy started."""
        async with self._session.get(f"{self._url}/counts", raise_for_status=True) as response:
            return Counts.from_json(await response.json())

    async def cut(self) -> None:
        """Cut the operator off from the API server."""
        async with self._session.post(f"{self._url}/cut", raise_for_status=True):
            pass

    async def restore(self) -> float:
        """Connect the operator again; returns the time on the monotonic clock."""
        async with self._session.post(f"{self._url}/restore", raise_for_status=True):
            return time.monotonic()


@dataclass(frozen=True)
class Moment:
    """The operator's usage of resources up to a moment, or between two."""

    at: float
    cpu_seconds: float
    waited_seconds: float
    """Time waited for a core, because other processes used it."""
    counts: Counts

    def since(self, earlier: "Moment") -> "Moment":
        """The difference; `at` becomes seconds."""
        return Moment(
            self.at - earlier.at,
            self.cpu_seconds - earlier.cpu_seconds,
            self.waited_seconds - earlier.waited_seconds,
            self.counts.since(earlier.counts),
        )


class Session:
    """A context; at its end the running operator is stopped."""

    def __init__(
        self,
        client: Client,
        fleet: Fleet,
        controls: Controls,
        *,
        start: Callable[[Mapping[str, str]], Operator],
        say: Callable[[str], None],
        limit: float,
    ) -> None:
        """`start` takes settings of the operator; `limit`, in seconds, is for each wait."""
        self.client = client
        self.fleet = fleet
        self.controls = controls
        self._start = start
        self.say = say
        self._limit = limit
        self._settings: dict[str, str] = {}
        self._running = ExitStack()
        self._operator: Operator | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._running.close()

    @property
    def operator(self) -> Operator:
        """The running operator."""
        assert self._operator
        return self._operator

    async def start_operator(self, **settings: str) -> Moment:
        """Replace the running operator by one with these settings; returns the time of its start."""
        self._settings |= settings
        await asyncio.to_thread(self._running.close)
        before = await self.controls.counts()
        self._operator = self._running.enter_context(self._start(self._settings))
        return Moment(self._operator.started, 0.0, 0.0, before)

    async def now(self) -> Moment:
        """The operator's usage so far."""
        operator = self.operator
        return Moment(time.monotonic(), operator.cpu_seconds(), operator.waited_seconds(), await self.controls.counts())

    async def until(self, reached: Callable[[], int], wanted: int, what: str) -> float | None:
        """The time on the monotonic clock when `reached` was at least `wanted`; None after the time limit."""
        begin = said = time.monotonic()
        while (found := reached()) < wanted:
            self.operator.cpu_seconds()  # raises when the operator has ended
            if (now := time.monotonic()) - begin > self._limit:
                self.say(f"{found} of {wanted} {what} after {self._limit:.0f} s: going on without the others")
                return None
            if now - said > _SAY_EVERY:
                said = now
                self.say(f"{found} of {wanted} {what}")
            await asyncio.sleep(_POLL)
        return time.monotonic()

    async def rest(self, since: Moment) -> float | None:
        """The time of the operator's last request or work before it became idle; None if it did not become idle.

        Watches and the Lease do not count. An operator that has sent nothing since that moment is not at rest.
        """
        begin = said = time.monotonic()
        seen = await self.now()
        busy = seen.at
        while True:
            await asyncio.sleep(_SAMPLE)
            before, seen = seen, await self.now()
            if seen.cpu_seconds - before.cpu_seconds > _BUSY * (seen.at - before.at):
                busy = seen.at
            sent = seen.counts.last if seen.counts.since(since.counts).works else None
            active = max(busy, sent or seen.at)
            if seen.at - active >= _REST:
                return active
            if seen.at - begin > self._limit:
                self.say(f"not at rest after {self._limit:.0f} s")
                return None
            if seen.at - said > _SAY_EVERY:
                said = seen.at
                self.say("waiting until the operator is at rest")
