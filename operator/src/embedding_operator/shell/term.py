"""What a leader does: one term of office, from the lists that fill its store to the loss of its Lease."""

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime, timedelta

from kubernetes.aio.client import Configuration

from embedding_operator.constants import MANAGED_BY, MANAGED_LABEL
from embedding_operator.controllers.embeddingservice import EmbeddingServiceController
from embedding_operator.controllers.modelcache import ModelCacheController
from embedding_operator.controllers.storagecontainer import StorageContainerController
from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import ClusterFault
from embedding_operator.kinds import (
    CLUSTER_MODEL_CACHE,
    CLUSTER_STORAGE_CONTAINER,
    EMBEDDING_SERVICE,
    MODEL_CACHE,
    RESOURCES,
    STORAGE_CONTAINER,
    WATCHED,
    Kind,
    Role,
)
from embedding_operator.settings import Settings
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.budget import RolloutBudget
from embedding_operator.shell.cache_observer import CacheObserver
from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock, sleep
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.kopf_watch import watch_with_kopf
from embedding_operator.shell.managers import Managers
from embedding_operator.shell.metrics import Metrics
from embedding_operator.shell.observer import Observer
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.queue import Priority, WorkQueue
from embedding_operator.shell.reflector import WATCH_SECONDS, Reflector, list_into
from embedding_operator.shell.routes import Routes, key_of
from embedding_operator.shell.secrets import SecretReader
from embedding_operator.shell.server_version import ServerVersion
from embedding_operator.shell.store import Store
from embedding_operator.shell.workers import Workers

__all__ = ["Term"]

_log = logging.getLogger(__name__)

KOPF_WATCHES = (STORAGE_CONTAINER, CLUSTER_STORAGE_CONTAINER)
"""The kinds that kopf watches; the reflector watches all others. With RESOURCES it would be all of ours: measured with
3,000 EmbeddingServices, kopf then keeps 73 MB for them, which the reflector does without."""

_SLOWEST = 120.0  # seconds of one reconcile, every call of which ends within ten
_SILENT = 2 * WATCH_SECONDS  # a watch without an event, a bookmark or a restart for so long is stuck
_REPAIR = 60.0  # seconds between two repairs
_REPAIR_ALL_AFTER = 300.0
"""Seconds after which kinds are listed that kopf may have found empty, which it does not report."""
_RETRY = 2.0
_PATIENCE = timedelta(minutes=5)


class Term:
    """Everything that lives as long as this process leads."""

    def __init__(
        self,
        client: Client,
        configuration: Configuration,
        settings: Settings,
        clock: Clock,
        *,
        leading: Callable[[], Awaitable[None]],
        is_leading: Callable[[], bool],
        metrics: Metrics,
        now: Callable[[], datetime],
        after_kopf_started: Callable[[], object] = lambda: None,
    ) -> None:
        self._after_kopf_started = after_kopf_started
        self._client, self._configuration, self._settings, self._clock = client, configuration, settings, clock
        self.is_leading = is_leading
        self._store = Store()
        self._queue: WorkQueue[ObjectRef] = WorkQueue(
            clock, Backoff(most=_PATIENCE.total_seconds()), group=lambda key: key.namespace
        )
        self._budget: RolloutBudget[ObjectRef] = RolloutBudget(
            settings.rollout_budget, lambda key: self._queue.add(key, Priority.RESYNC)
        )
        self._routes = Routes(self._queue, self._store, self._queue.forget)
        self._store.on_change = self._routes
        recorder = EventRecorder(client, now)
        executor = Executor(client, self._store, recorder)
        self._reports = PodReports(clock, self._queue.add)
        version = ServerVersion(client, clock)
        observer = Observer(self._store, client, SecretReader(client, clock), self._reports, version)
        lease = timedelta(seconds=settings.lease_seconds)
        self._managers = Managers(client, settings.manager, lease, now)
        services = EmbeddingServiceController(
            observer,
            executor,
            recorder,
            self._managers,
            self._budget,
            reports=self._reports,
            settings=settings,
            now=now,
            failures=self._queue.failures,
        )
        storage = StorageContainerController(self._store, observer, executor, settings, now=now, add=self._queue.add)
        caches = ModelCacheController(
            self._store,
            CacheObserver(
                self._store,
                SecretReader(client, clock),
                self._reports,
                observer.storage_containers,
                observer.events,
            ),
            executor,
            recorder,
            Managers(client, settings.manager, lease, now),
            reports=self._reports,
            settings=settings,
            now=now,
            failures=self._queue.failures,
            add=self._queue.add,
        )
        self._reconcilers: Mapping[str, Callable[[ObjectRef], Awaitable[timedelta | None]]] = {
            EMBEDDING_SERVICE.name: services.reconcile,
            STORAGE_CONTAINER.name: storage.reconcile,
            CLUSTER_STORAGE_CONTAINER.name: storage.reconcile,
            MODEL_CACHE.name: caches.reconcile,
            CLUSTER_MODEL_CACHE.name: caches.reconcile,
        }
        self._workers = Workers(
            self._queue,
            lambda key: self._reconcilers[key.kind](key),
            clock,
            number=settings.workers,
            may_work=leading,
            metrics=metrics,
        )
        self._reflectors = [self._reflector(kind, scope) for kind, scope in self._scopes() if kind not in KOPF_WATCHES]
        self._to_repair: set[Kind] = set()
        self._repair_due = asyncio.Event()

    async def run(self) -> None:
        """Never returns. Raises WatchesEnded, in an ExceptionGroup, when kopf gives up."""
        for kind in KOPF_WATCHES:
            await self._list(kind)
        one_at_a_time = asyncio.Lock()  # lists are large while they are parsed
        async with asyncio.TaskGroup() as group:
            for reflector in self._reflectors:
                group.create_task(reflector.run(one_at_a_time), name=f"watch {reflector.state.kind.plural}")
            kopf = watch_with_kopf(
                KOPF_WATCHES,
                self._store,
                on_relist=self._relisted,
                configuration=self._configuration,
                settings=self._settings,
                started=self._after_kopf_started,
            )
            group.create_task(kopf, name="kopf")
            for reflector in self._reflectors:
                await reflector.synced.wait()
            keys = self._keys()
            self._budget.expect(key for key in keys if key.kind == EMBEDDING_SERVICE.name)
            self._routes.is_open = True
            self._enqueue(keys)
            group.create_task(self._workers.run(), name="workers")
            group.create_task(self._reports.run(), name="pod reports")
            group.create_task(self._resync(), name="resync")
            group.create_task(self._repair(), name="repair")

    def problem(self) -> str | None:
        """Why the process should be started anew; None: it works."""
        if self._workers.longest > _SLOWEST:
            return f"a reconcile has been running for {self._workers.longest:.0f} s"
        silent = [
            each.state.kind.plural for each in self._reflectors if self._clock.time() - each.state.active_at > _SILENT
        ]
        return f"the watches of {', '.join(silent)} are stuck" if silent else None

    def queue(self) -> tuple[int, float]:
        """Keys that are due, and how many seconds the oldest has been."""
        return len(self._queue), self._queue.oldest

    def services(self) -> Counter[tuple[str, str]]:
        """How many services have each status and reason of Ready."""
        return Counter(each.ready for each in self._store.services())

    def rollouts(self) -> int:
        """Slots of the rollout budget that are taken."""
        return self._budget.in_use

    def conflicting(self) -> int:
        """Services that another operator manages."""
        return self._managers.conflicts

    def watch_restarts(self) -> Counter[str]:
        """How often the watch of each kind began anew."""
        restarts: Counter[str] = Counter()
        for each in self._reflectors:
            restarts[each.state.kind.plural] += each.state.restarts
        return restarts

    def _scopes(self) -> list[tuple[Kind, str | None]]:
        """Each watch: a kind, and a namespace where only some are managed."""
        scopes = self._settings.namespaces or (None,)
        return [(kind, scope) for kind in WATCHED for scope in (scopes if kind.namespaced else (None,))]

    def _reflector(self, kind: Kind, namespace: str | None) -> Reflector:
        labels = None if kind.role is Role.RESOURCE else f"{MANAGED_LABEL}={MANAGED_BY}"
        return Reflector(self._client, self._store, self._clock, kind, namespace, labels=labels)

    def _keys(self) -> list[ObjectRef]:
        services = [key_of(EMBEDDING_SERVICE, each.namespace, each.name) for each in self._store.services()]
        storage = [
            key_of(kind, raw["metadata"].get("namespace"), raw["metadata"]["name"])
            for kind in RESOURCES
            if kind is not EMBEDDING_SERVICE
            for raw in self._store.all(kind)
        ]
        return [*storage, *services]

    def _enqueue(self, keys: list[ObjectRef]) -> None:
        """Services without a status go first: their users wait, and the former leader may have died just then."""
        new = {(each.namespace, each.name) for each in self._store.services() if not each.ready[1]}
        for key in keys:
            is_new = key.kind == EMBEDDING_SERVICE.name and (key.namespace, key.name) in new
            self._queue.add(key, Priority.USER if is_new else Priority.RESYNC)

    async def _resync(self) -> None:
        """Now and then, list what kopf watches, have the others listed, and reconcile everything."""
        while True:
            await sleep(self._clock, self._settings.resync_seconds * (0.9 + random.random() / 5))  # noqa: S311 jitter
            for kind in KOPF_WATCHES:
                await self._list(kind)
            for reflector in self._reflectors:
                reflector.list_anew()
            self._enqueue(self._keys())

    async def _list(self, kind: Kind) -> None:
        """Until it succeeds."""
        for scope in [scope for each, scope in self._scopes() if each is kind]:
            while True:
                try:
                    await list_into(self._store, self._client, kind, scope)
                    break
                except ClusterFault as fault:
                    _log.warning("%s; again in %.0f s", fault, _RETRY)
                    await sleep(self._clock, _RETRY)

    def _relisted(self, kind: Kind) -> None:
        """kopf has listed a kind again, and reports only what exists."""
        self._to_repair.add(kind)
        self._repair_due.set()

    def _repair_all(self) -> None:
        """The last object of a kind may have been deleted before kopf's list, which then reports nothing."""
        self._to_repair.update(kind for kind in KOPF_WATCHES if self._store.count(kind))
        self._repair_due.set()

    async def _repair(self) -> None:
        """Find what was deleted before kopf's lists, which it does when its version was too old."""
        while True:
            timer = self._clock.call_later(_REPAIR_ALL_AFTER, self._repair_all)
            try:
                await self._repair_due.wait()
            finally:
                timer.cancel()
            self._repair_due.clear()
            while self._to_repair:
                await self._list(self._to_repair.pop())
            await sleep(self._clock, _REPAIR)
