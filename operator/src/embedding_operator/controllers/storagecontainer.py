"""Reconciles one storage container: its own status, and the services and caches that it concerns."""

import asyncio
from collections.abc import Callable
from datetime import datetime

from embedding_operator.core.model_cache.location import location_of
from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.plan import plan_storage_container
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.core.storage import match
from embedding_operator.kinds import CLUSTER_MODEL_CACHE, CLUSTER_STORAGE_CONTAINER, EMBEDDING_SERVICE, MODEL_CACHE
from embedding_operator.settings import Settings
from embedding_operator.shell.entries import ServiceEntry
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.observer import Observer
from embedding_operator.shell.queue import Priority
from embedding_operator.shell.routes import key_of
from embedding_operator.shell.store import Store

__all__ = ["StorageContainerController"]

_AT_ONCE = 10  # services that are matched before others have their turn: 2 ms each in the worst case


class StorageContainerController:
    """`add` puts the key of a service or a cache on the queue."""

    def __init__(
        self,
        store: Store,
        observer: Observer,
        executor: Executor,
        settings: Settings,
        *,
        now: Callable[[], datetime],
        add: Callable[[ObjectRef, Priority], object],
    ) -> None:
        self._store = store
        self._observer = observer
        self._executor = executor
        self._settings = settings
        self._now = now
        self._add = add

    async def reconcile(self, key: ObjectRef) -> None:
        """Raises ClusterFault."""
        await self._wake_services(key)
        self._wake_caches(key.namespace)
        await self._write_status(key)  # last, since it may be refused

    async def _wake_services(self, key: ObjectRef) -> None:
        for number, service in enumerate(self._store.services()):
            if self._concerns(key, service):
                self._add(key_of(EMBEDDING_SERVICE, service.namespace, service.name), Priority.RESYNC)
            if number % _AT_ONCE == _AT_ONCE - 1:
                await asyncio.sleep(0)

    def _wake_caches(self, namespace: str | None) -> None:
        """All within its reach: there are few."""
        for raw in (*self._store.all(MODEL_CACHE), *self._store.all(CLUSTER_MODEL_CACHE)):
            location = location_of(raw)
            if namespace in (None, location.namespace):
                self._add(key_of(location.kind, raw["metadata"].get("namespace"), location.name), Priority.RESYNC)

    async def _write_status(self, key: ObjectRef) -> None:
        read = self._read(key)
        if read is None or (key.kind == CLUSTER_STORAGE_CONTAINER.name and not self._settings.writes_cluster_status):
            return
        status = plan_storage_container(read, self._now())
        if status is not None:
            await self._executor.write_status(read.raw, status)

    def _read(self, key: ObjectRef) -> StorageRead | None:
        return next(
            (
                each
                for each in self._observer.storage_containers(key.namespace)
                if (each.raw["kind"], each.raw["metadata"]["name"]) == (key.kind, key.name)
                and each.raw["metadata"].get("namespace") == key.namespace
            ),
            None,
        )

    def _concerns(self, key: ObjectRef, service: ServiceEntry) -> bool:
        """It fetches the service's model, is named by it, or would be chosen for it now."""
        if key.namespace not in (None, service.namespace):
            return False
        if service.storage_container is not None:
            return service.storage_container == key.name
        if service.fetched_by == (key.kind, key.name):
            return True
        reads = self._observer.storage_containers(service.namespace)
        fetcher, _ = match(service.uri, service.namespace, reads, service.fetched_by)
        return fetcher is None or (fetcher.kind, fetcher.name) == (key.kind, key.name)
