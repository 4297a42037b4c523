"""Which of several operators works: the one whose name is on the Lease.

kubernetes.aio brings an election of its own; it cannot give a Lease back, writes local time without its zone, and has
no way to ask, before a write, whether one still leads.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from embedding_operator.errors import ClusterFault, Conflict, LeaseLost, NotFound
from embedding_operator.kinds import LEASES
from embedding_operator.shell.client import Api, Json
from embedding_operator.shell.clock import Clock, sleep

__all__ = ["Leader", "Terms"]

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Terms:
    """How an election goes, the same for all candidates; times in seconds."""

    namespace: str
    name: str
    me: str
    duration: float
    """A candidate takes a Lease that has not been renewed for that long."""

    @property
    def deadline(self) -> float:
        """A leader that could not renew for that long stops: well before another may begin."""
        return self.duration * 2 / 3

    @property
    def pause(self) -> float:
        """Time between two looks or two renewals, and the longest wait for an answer to either."""
        return self.duration / 6


class Leader:
    """One candidate. Nobody's wall clock is trusted: a Lease has run out when it did not change for its duration."""

    def __init__(self, api: Api, terms: Terms, clock: Clock, now: Callable[[], datetime]) -> None:
        self._api = api
        self._terms = terms
        self._clock = clock
        self._now = now
        self._lease: Json | None = None
        self._changed_at = clock.time()
        self._leads_until = clock.time()

    def leads(self) -> bool:
        """Nobody else can have taken the Lease yet."""
        return self._clock.time() < self._leads_until

    async def acquire(self) -> None:
        """Wait until the Lease is ours."""
        _log.info("waiting for the Lease %s/%s", self._terms.namespace, self._terms.name)
        while not await self._try():
            await sleep(self._clock, self._terms.pause)
        _log.info("leading, as %s", self._terms.me)

    async def hold(self) -> None:
        """Renew for ever. Raises LeaseLost when another has the Lease, or when none can tell in time."""
        while True:
            await sleep(self._clock, self._terms.pause)
            if await self._try():
                continue
            if not self._is_mine():
                raise LeaseLost(f"the Lease went to {self._holder() or 'nobody'}")
            if not self.leads():
                raise LeaseLost(f"the Lease could not be renewed for {self._terms.deadline:.0f} s")

    async def release(self) -> None:
        """Give the Lease back, so that the next need not wait for its end."""
        self._leads_until = self._clock.time()
        try:
            await self._look()  # a renewal that was cut short may have arrived
            if not self._is_mine():
                return
            await self._api.replace(LEASES, self._with({"holderIdentity": "", "leaseDurationSeconds": 1}))
        except ClusterFault as fault:
            _log.warning("the Lease is not given back and has to run out: %s", fault)
        else:
            _log.info("gave the Lease back")

    async def _try(self) -> bool:
        """Look at the Lease, and take or renew it if that is allowed; whether it is ours now."""
        asked_at = self._clock.time()
        try:
            await self._look()
            if not (self._is_mine() or self._has_run_out()):
                return False
            self._lease = await self._take()
        except Conflict:
            return False  # another was faster
        except ClusterFault as fault:
            _log.warning("the Lease: %s", fault)
            return False
        self._changed_at = self._clock.time()
        self._leads_until = asked_at + self._terms.deadline
        return True

    async def _look(self) -> None:
        try:
            seen = await self._api.get(LEASES, self._terms.namespace, self._terms.name)
        except NotFound:
            self._lease = None
            return
        if self._lease is None or seen["metadata"]["resourceVersion"] != self._lease["metadata"]["resourceVersion"]:
            self._lease, self._changed_at = seen, self._clock.time()

    async def _take(self) -> Json:
        now = self._now().strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        mine = {
            "holderIdentity": self._terms.me,
            "leaseDurationSeconds": round(self._terms.duration),
            "renewTime": now,
        }
        if self._lease is None:
            meta = {"namespace": self._terms.namespace, "name": self._terms.name}
            spec = {**mine, "acquireTime": now, "leaseTransitions": 0}
            return await self._api.create(
                LEASES, {"apiVersion": LEASES.api_version, "kind": LEASES.kind, "metadata": meta, "spec": spec}
            )
        if not self._is_mine():
            mine |= {"acquireTime": now, "leaseTransitions": self._spec().get("leaseTransitions", 0) + 1}
        return await self._api.replace(LEASES, self._with(mine))

    def _with(self, changes: Json) -> Json:
        return {**(self._lease or {}), "spec": {**self._spec(), **changes}}

    def _spec(self) -> Json:
        spec: Json = (self._lease or {}).get("spec") or {}
        return spec

    def _holder(self) -> str:
        return self._spec().get("holderIdentity") or ""

    def _is_mine(self) -> bool:
        return self._holder() == self._terms.me

    def _has_run_out(self) -> bool:
        """Free, or not renewed for as long as its holder said it would hold."""
        duration = self._spec().get("leaseDurationSeconds") or self._terms.duration
        return not self._holder() or self._clock.time() >= self._changed_at + duration
