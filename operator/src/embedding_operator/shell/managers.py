"""Which operator manages a service: two with overlapping scopes would undo each other's writes for ever.

`status.manager` names the Lease of the operator that wrote the status. While that is live, others write nothing.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

from embedding_operator.core.objects import Raw
from embedding_operator.errors import ClusterFault, Denied, NotFound
from embedding_operator.kinds import LEASE
from embedding_operator.shell.client import Client

__all__ = ["Managers", "OtherManager"]

_LONGEST = timedelta(minutes=5)


@dataclass(frozen=True)
class OtherManager:
    """Another operator manages the service. `is_news`: it did not at the last check."""

    message: str
    requeue_after: timedelta
    is_news: bool


@dataclass(frozen=True)
class _Lease:
    """What a read of another operator's Lease showed."""

    read_at: datetime
    valid_for: timedelta
    why_live: str | None
    """Why its holder counts as live; None: it does not."""


class Managers:
    """Which services another operator manages, and which ones this operator may manage. `me` is our Lease's name."""

    def __init__(self, client: Client, me: str, duration: timedelta, now: Callable[[], datetime]) -> None:
        self._client = client
        self._me = me
        self._duration = duration
        self._now = now
        self._leases: dict[str, _Lease] = {}
        self._reading = asyncio.Lock()
        self._checks: dict[tuple[str, str], int] = {}
        """Number of checks in a row that found another manager, by namespace and name."""

    @property
    def conflicts(self) -> int:
        """Services that are left to another operator."""
        return len(self._checks)

    async def other_manager(self, service: Raw) -> OtherManager | None:
        """None: it is ours. Raises ClusterFault when its manager's Lease cannot be read for a moment."""
        key = service["metadata"].get("namespace", ""), service["metadata"]["name"]
        manager = (service.get("status") or {}).get("manager")
        if not manager or manager == self._me or (why_live := await self._why_live(manager)) is None:
            self.forget(*key)
            return None
        attempts = self._checks[key] = self._checks.get(key, 0) + 1
        message = (
            f"The operator with Lease {manager} manages this {service['kind']}, so this one (Lease {self._me}) leaves "
            f"it alone: {why_live}. Give the two operators different namespaces (the chart's watchNamespaces), or "
            "uninstall one of them"
        )
        wait = min(_LONGEST, self._duration * 2 ** min(attempts - 1, 10))
        return OtherManager(message, wait, is_news=attempts == 1)

    def forget(self, namespace: str, name: str) -> None:
        """The service is gone, or it is ours."""
        self._checks.pop((namespace, name), None)

    async def _why_live(self, manager: str) -> str | None:
        """Why that operator counts as live; None: it does not. One read serves all its services for a while."""
        async with self._reading:  # workers that ask at once wait for one answer, and say the same
            known = self._leases.get(manager)
            if known is None or self._now() >= known.read_at + known.valid_for:
                known = self._leases[manager] = await self._read_lease(manager)
            return known.why_live

    async def _read_lease(self, manager: str) -> _Lease:
        namespace, _, name = manager.partition("/")
        now = self._now()
        try:
            spec = (await self._client.get(LEASE, namespace, name)).get("spec") or {}
        except NotFound:
            return _Lease(now, self._duration, None)
        except Denied as fault:
            return _Lease(now, _LONGEST, f"its Lease cannot be read ({fault})")
        except ClusterFault:
            self._leases.pop(manager, None)
            raise
        duration = timedelta(seconds=spec.get("leaseDurationSeconds") or 0) or self._duration
        renewed = spec.get("renewTime")
        if not spec.get("holderIdentity") or not renewed:
            return _Lease(now, duration, None)
        at = datetime.fromisoformat(renewed)
        is_live = now < at + 2 * duration  # its clock may differ from ours by as much as a Lease lasts
        return _Lease(now, duration, f"its Lease was renewed at {renewed}" if is_live else None)
