"""What is done with a key, by its kind. Each reads from top to bottom: observe, plan, execute."""

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from embedding_operator.core.plan import plan, plan_denied, plan_storage_container
from embedding_operator.core.reasons import Reason
from embedding_operator.core.snapshot import ObjectRef
from embedding_operator.errors import Denied, NameTaken, Problem
from embedding_operator.kinds import (
    CLUSTER_STORAGE_CONTAINERS,
    EMBEDDING_SERVICES,
    OURS,
    STORAGE_CONTAINERS,
    Resource,
)
from embedding_operator.settings import Settings
from embedding_operator.shell.cluster import Cluster

__all__ = ["RESYNC", "Reconciler", "key_of"]

_log = logging.getLogger(__name__)

RESYNC = ObjectRef("", "Resync", None, "everything")
"""Not an object: when its turn comes, every object is looked at, whether a watch told of it or not."""


def key_of(resource: Resource, namespace: str | None, name: str) -> ObjectRef:
    """The key under which an object of ours waits in the queue."""
    return ObjectRef(resource.api_version, resource.kind, namespace, name)


class Reconciler:
    """Call it with a key; it answers when it wants to be called again although nothing happens."""

    def __init__(
        self, cluster: Cluster, settings: Settings, now: Callable[[], datetime], add: Callable[[ObjectRef], None]
    ) -> None:
        self._cluster = cluster
        self._settings = settings
        self._now = now
        self._add = add
        self._by_kind: Mapping[str, Callable[[ObjectRef], Awaitable[timedelta | None]]] = {
            EMBEDDING_SERVICES.kind: self._service,
            STORAGE_CONTAINERS.kind: self._storage_container,
            CLUSTER_STORAGE_CONTAINERS.kind: self._storage_container,
            RESYNC.kind: self._resync,
        }

    async def __call__(self, key: ObjectRef) -> timedelta | None:
        """Raises OperatorFault."""
        return await self._by_kind[key.kind](key)

    async def _service(self, key: ObjectRef) -> timedelta | None:
        raw = await self._cluster.get(key)
        if raw is None:
            return None  # what it owned goes by owner references, with this process or without
        observed = await self._cluster.observe(raw)
        wanted = plan(raw, observed, self._settings, self._now())
        try:
            await self._cluster.execute(raw, wanted)
        except (Denied, NameTaken) as fault:
            why = Problem(Reason.NAME_TAKEN if isinstance(fault, NameTaken) else Reason.DENIED, str(fault))
            await self._cluster.execute(raw, plan_denied(raw, observed, why, self._now()))
            raise
        return wanted.look_again

    async def _storage_container(self, key: ObjectRef) -> None:
        raw = await self._cluster.get(key)
        status = plan_storage_container(raw, self._now()) if raw else None
        if raw and status is not None:
            await self._cluster.write_status(raw, status)
        for service in await self._cluster.keys(EMBEDDING_SERVICES):
            if key.namespace in (None, service.namespace):
                self._add(service)  # another storage container may fetch for it now

    async def _resync(self, _: ObjectRef) -> timedelta:
        keys = await self._cluster.keys(*OURS)
        _log.debug("looking at all %d objects", len(keys))
        for other in keys:
            self._add(other)
        return timedelta(seconds=self._settings.resync_seconds)
