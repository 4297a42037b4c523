"""Leader election: of several operators, the one that holds the Lease works.

kubernetes.aio brings an election of its own; it cannot release a Lease, writes local time without its zone, and has no
way to ask, before a write, whether this process still leads.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from embedding_operator.errors import ClusterFault, Conflict, LeaseLost, NotFound
from embedding_operator.kinds import LEASE
from embedding_operator.shell.client import Client, Json
from embedding_operator.shell.clock import Clock, sleep

__all__ = ["Leader", "LeaseConfig"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class LeaseConfig:
    """Rules of the election, the same for all candidates. Times are in seconds."""

    namespace: str
    name: str
    me: str
    duration: float
    """A candidate takes a Lease that has not been renewed for that long."""

    @property
    def deadline(self) -> float:
        """A leader that could not renew for that long writes nothing more: well before another may begin."""
        return self.duration * 2 / 3

    @property
    def pause(self) -> float:
        """Time between two reads or two renewals, and the longest wait for an answer to either."""
        return self.duration / 6


class Leader:
    """One candidate. No wall clock is trusted: a Lease has expired when it did not change for its duration.

    While the API server is away the Lease cannot be renewed, and `seconds_left` falls to zero: nothing is written. When
    it is back and the Lease was not taken, this candidate continues.
    """

    def __init__(self, client: Client, config: LeaseConfig, clock: Clock, now: Callable[[], datetime]) -> None:
        self._client = client
        self._config = config
        self._clock = clock
        self._now = now
        self._lease: Json | None = None
        self._changed_at = clock.time()
        self._leads_until = clock.time()
        self._renewed = asyncio.Event()
        self.heard_at: float | None = None
        """When the API server last answered about the Lease."""
        self.soon = asyncio.Event()
        """Set when this process leads, or is likely to lead soon: the holder has not renewed the Lease for half of its
        duration. It is time to list what a leader has to know."""

    def leads(self) -> bool:
        """The Lease is ours, and no other candidate can have taken it yet."""
        return self.seconds_left() > 0

    def seconds_left(self) -> float:
        """Seconds in which no other candidate can take the Lease, whatever happens."""
        return max(0.0, self._leads_until - self._clock.time())

    async def leading(self) -> None:
        """Wait until this process leads."""
        while not self.leads():
            await self._renewed.wait()

    async def acquire(self) -> None:
        """Wait until the Lease is ours. Raises LeaseLost when it is renewed after `soon` was set."""
        _log.info("waiting for the Lease %s/%s", self._config.namespace, self._config.name)
        while not await self._try():
            if self._is_silent():
                self.soon.set()
            elif self.soon.is_set():
                raise LeaseLost(f"{self._holder()} renewed the Lease")
            await sleep(self._clock, self._config.pause)
        self.soon.set()
        _log.info("leading, as %s", self._config.me)

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLost when another has the Lease."""
        renewed = was_leading = True
        while True:
            await sleep(self._clock, self._config.pause if renewed else self._config.pause / 4)
            renewed = await self._try()
            if not renewed and not self._is_mine():
                raise LeaseLost(f"the Lease went to {self._holder() or 'nobody'}")
            if was_leading and not self.leads():
                _log.warning("could not renew the Lease in time: writing nothing until it is renewed")
            elif not was_leading and renewed:
                _log.info("leading again")
            was_leading = self.leads()

    async def release(self) -> None:
        """Release the Lease, so that the next leader need not wait until it expires."""
        self._leads_until = self._clock.time()
        self.soon.clear()
        try:
            await self._read()  # a renewal that was cut short may have arrived
            if not self._is_mine():
                return
            await self._client.replace(LEASE, self._with({"holderIdentity": "", "leaseDurationSeconds": 1}))
        except ClusterFault as fault:
            _log.warning("could not release the Lease, which has to expire: %s", fault)
        else:
            _log.info("gave the Lease back")

    async def _try(self) -> bool:
        """Read the Lease, and take or renew it if that is allowed; whether it is ours now."""
        asked_at = self._clock.time()
        try:
            if not self._is_mine():
                await self._read()
            if not await self._take_if_allowed():
                return False
        except ClusterFault as fault:
            _log.warning("renewing the Lease: %s", fault)
            return False
        self._changed_at = self.heard_at = self._clock.time()
        self._leads_until = asked_at + self._config.deadline
        renewed, self._renewed = self._renewed, asyncio.Event()
        renewed.set()
        return True

    async def _take_if_allowed(self) -> bool:
        """Whether the Lease is ours. A leader renews what it last wrote, and reads only when that fails."""
        for _ in range(2):
            if not (self._is_mine() or self._has_run_out()):
                return False
            try:
                self._lease = await self._take()
            except (Conflict, NotFound):  # another was faster, somebody deleted it, or the last answer was lost
                await self._read()
            else:
                return True
        return False

    async def _read(self) -> None:
        try:
            seen = await self._client.get(LEASE, self._config.namespace, self._config.name)
        except NotFound:
            self._lease, self.heard_at = None, self._clock.time()
            return
        self.heard_at = self._clock.time()
        if self._lease is None or seen["metadata"]["resourceVersion"] != self._lease["metadata"]["resourceVersion"]:
            self._lease, self._changed_at = seen, self._clock.time()

    async def _take(self) -> Json:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = {
            "holderIdentity": self._config.me,
            "leaseDurationSeconds": round(self._config.duration),
            "renewTime": now,
        }
        if self._lease is None:
            meta = {"namespace": self._config.namespace, "name": self._config.name}
            spec = {**mine, "acquireTime": now, "leaseTransitions": 0}
            return await self._client.create(
                LEASE, {"apiVersion": LEASE.api_version, "kind": LEASE.name, "metadata": meta, "spec": spec}
            )
        if not self._is_mine():
            mine |= {"acquireTime": now, "leaseTransitions": self._spec().get("leaseTransitions", 0) + 1}
        return await self._client.replace(LEASE, self._with(mine))

    def _with(self, changes: Json) -> Json:
        return {**(self._lease or {}), "spec": {**self._spec(), **changes}}

    def _spec(self) -> Json:
        spec: Json = (self._lease or {}).get("spec") or {}
        return spec

    def _holder(self) -> str:
        return self._spec().get("holderIdentity") or ""

    def _is_mine(self) -> bool:
        return self._holder() == self._config.me

    def _has_run_out(self) -> bool:
        """Free, or not renewed for as long as its holder said it would hold."""
        return not self._holder() or self._clock.time() >= self._changed_at + self._duration()

    def _is_silent(self) -> bool:
        """The API server answers, and the Lease has not changed for half of its duration."""
        return self.heard_at is not None and self.heard_at >= self._changed_at + self._duration() / 2

    def _duration(self) -> float:
        """That of the Lease's holder, in seconds."""
        return float(self._spec().get("leaseDurationSeconds") or self._config.duration)
