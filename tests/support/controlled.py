"""Controllers with a fake API server, but without queue, watches and Lease: tests trigger reconciles."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from embedding_operator.constants import API_VERSION
from embedding_operator.controllers.embeddingservice import EmbeddingServiceController
from embedding_operator.controllers.modelcache import ModelCacheController
from embedding_operator.controllers.storagecontainer import StorageContainerController
from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import Fault
from embedding_operator.kinds import MODEL_CACHE, WATCHED, Kind
from embedding_operator.settings import Settings
from embedding_operator.shell.budget import RolloutBudget
from embedding_operator.shell.cache_observer import CacheObserver
from embedding_operator.shell.client import Client
from embedding_operator.shell.connection import open_connection
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.managers import Managers
from embedding_operator.shell.observer import Observer
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.queue import Priority
from embedding_operator.shell.reflector import list_into
from embedding_operator.shell.secrets import SecretReader
from embedding_operator.shell.server_version import ServerVersion
from embedding_operator.shell.store import Store
from support.builders import COMMIT
from support.fake_api import FakeApi, fake_api

__all__ = ["Controlled", "controlled", "service_key"]

Raw = dict[str, Any]


def service_key(name: str = "s") -> ObjectRef:
    """Key of an EmbeddingService in the namespace `default`."""
    return ObjectRef(API_VERSION, "EmbeddingService", "default", name)


class Controlled:
    """An API server, and an operator that stands still between reconciles. Its store is listed before each."""

    def __init__(self, api: FakeApi, client: Client, settings: Settings) -> None:
        self.api = api
        self.client = client
        self.store = Store()
        self.now = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
        self.failures: dict[ObjectRef, int] = {}
        self.woken: list[ObjectRef] = []
        self.added: list[tuple[ObjectRef, Priority]] = []
        self.configure(settings)

    def configure(self, settings: Settings) -> None:
        """As a start with these settings."""

        def now() -> datetime:
            return self.now

        recorder = EventRecorder(self.client, now)
        executor = Executor(self.client, self.store, recorder)
        self.secrets = SecretReader(self.client, asyncio.get_running_loop())
        self.managers = Managers(self.client, settings.manager, timedelta(seconds=10), now)
        self.reports = PodReports(asyncio.get_running_loop(), self.woken.append)
        version = ServerVersion(self.client, asyncio.get_running_loop())
        observer = Observer(self.store, self.client, self.secrets, self.reports, version)
        self.budget: RolloutBudget[ObjectRef] = RolloutBudget(settings.rollout_budget, self.woken.append)
        self._services = EmbeddingServiceController(
            observer,
            executor,
            recorder,
            self.managers,
            self.budget,
            reports=self.reports,
            settings=settings,
            now=now,
            failures=lambda key: self.failures.get(key, 0),
        )
        self._caches = ModelCacheController(
            self.store,
            CacheObserver(
                self.store,
                SecretReader(self.client, asyncio.get_running_loop()),
                self.reports,
                observer.storage_containers,
                observer.events,
            ),
            executor,
            recorder,
            self.managers,
            reports=self.reports,
            settings=settings,
            now=now,
            failures=lambda key: self.failures.get(key, 0),
            add=lambda key, priority: self.added.append((key, priority)),
        )
        self._storage = StorageContainerController(
            self.store,
            observer,
            executor,
            settings,
            now=now,
            add=lambda key, priority: self.added.append((key, priority)),
        )

    async def sync(self) -> None:
        for kind in WATCHED:
            await list_into(self.store, self.client, kind)

    async def reconcile(self, name: str = "s") -> timedelta | None:
        """Reconcile a service. Raises Fault, which counts as the queue would count it."""
        await self.sync()
        key = service_key(name)
        try:
            wait = await self._services.reconcile(key)
        except Fault:
            self.failures[key] = self.failures.get(key, 0) + 1
            raise
        self.failures.pop(key, None)
        return wait

    async def reconcile_storage(self, kind: str, name: str, namespace: str | None = None) -> set[str]:
        """Reconcile a storage container; the services that are to be reconciled for it."""
        await self.sync()
        self.added.clear()
        await self._storage.reconcile(ObjectRef(API_VERSION, kind, namespace, name))
        assert {priority for _, priority in self.added} <= {Priority.RESYNC}
        return {key.name for key, _ in self.added}

    async def reconcile_cache(self, name: str = "c", kind: Kind = MODEL_CACHE) -> timedelta | None:
        """Reconcile a cache. Raises Fault, which counts as the queue would count it."""
        await self.sync()
        key = ObjectRef(API_VERSION, kind.name, "default" if kind.namespaced else None, name)
        try:
            wait = await self._caches.reconcile(key)
        except Fault:
            self.failures[key] = self.failures.get(key, 0) + 1
            raise
        self.failures.pop(key, None)
        return wait

    def create_service(self, name: str = "s", **spec: Any) -> Raw:
        model = {"storageUri": f"hf://a/b:{COMMIT}", **spec.pop("model", {})}
        metadata = {"name": name, "namespace": "default"}
        return self.api.create(
            {
                "apiVersion": API_VERSION,
                "kind": "EmbeddingService",
                "metadata": metadata,
                "spec": {"model": model, **spec},
            }
        )

    def condition(self, kind: str = "Ready", name: str = "s") -> tuple[str, str, str]:
        """Status, reason and message; empty when there is none."""
        status = (self.api.get("embeddingservices", name) or {}).get("status", {})
        found: Raw = next((each for each in status.get("conditions", ()) if each["type"] == kind), {})
        return found.get("status", ""), found.get("reason", ""), found.get("message", "")

    @property
    def events(self) -> list[tuple[str, str]]:
        return [(each["reason"], each["message"]) for each in self.api.list("events")]

    @property
    def written(self) -> list[tuple[str, str]]:
        return [(each.verb, each.resource) for each in self.api.writes]


@asynccontextmanager
async def controlled(**settings: Any) -> AsyncIterator[Controlled]:
    """`settings` over the defaults."""
    async with fake_api() as api, open_connection(api.configuration) as connection:
        yield Controlled(api, Client(connection, timeout_seconds=5), Settings.model_validate(settings))
