"""Reconciles one ModelCache or ClusterModelCache."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from embedding_operator.controllers.reporting import failures_reported
from embedding_operator.core.model_cache.plan import plan_cache, plan_failed_cache
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.records import EventRecord
from embedding_operator.errors import Fault
from embedding_operator.kinds import EMBEDDING_SERVICE
from embedding_operator.settings import Settings
from embedding_operator.shell.cache_observer import CacheObserver
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.managers import Managers
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.queue import Priority
from embedding_operator.shell.routes import key_of
from embedding_operator.shell.store import Store

__all__ = ["ModelCacheController"]

_log = logging.getLogger(__name__)


class ModelCacheController:
    """`add` puts the key of a service on the queue; `failures` says how often in a row a key has failed before."""

    def __init__(
        self,
        store: Store,
        observer: CacheObserver,
        executor: Executor,
        recorder: EventRecorder,
        managers: Managers,
        *,
        reports: PodReports,
        settings: Settings,
        now: Callable[[], datetime],
        failures: Callable[[ObjectRef], int],
        add: Callable[[ObjectRef, Priority], object],
    ) -> None:
        self._store = store
        self._observer = observer
        self._executor = executor
        self._recorder = recorder
        self._managers = managers
        self._reports = reports
        self._settings = settings
        self._now = now
        self._failures = failures
        self._add = add

    async def reconcile(self, key: ObjectRef) -> timedelta | None:
        """Returns the delay until the next reconcile, or None. Raises Fault after writing it to the status."""
        cache = self._observer.cache(key)
        if cache is None:
            self._forget(key)
            return None
        snapshot = self._observer.snapshot(cache)
        manager = snapshot.status.get("manager")
        if not snapshot.location.is_seen(self._settings.namespaces) and manager not in (None, self._settings.manager):
            self._reports.forget(key)
            return None  # it belongs to an operator that sees its Jobs
        other = await self._managers.other_manager(cache)
        if other is not None:
            self._reports.forget(key)
            if other.is_news:
                _log.warning("%s: %s", key, other.message)
                await self._recorder.record(cache, EventRecord("Warning", "ConflictingManager", other.message))
            return other.requeue_after
        if snapshot.location.is_cluster_wide and snapshot.is_new_spec:
            self._wake_services(None)  # what is allowed may have changed
        return await self._attempt(key, snapshot)

    def _forget(self, key: ObjectRef) -> None:
        """The cache is gone, or going: services that mount its claim download their models again."""
        self._reports.forget(key)
        self._observer.forget(key)
        self._managers.forget(key.namespace or "", key.name)
        self._wake_services(key.namespace)

    def _wake_services(self, namespace: str | None) -> None:
        for service in self._store.services():
            if namespace in (None, service.namespace):
                self._add(key_of(EMBEDDING_SERVICE, service.namespace, service.name), Priority.RESYNC)

    async def _attempt(self, key: ObjectRef, snapshot: CacheSnapshot) -> timedelta | None:
        async def report(fault: Fault) -> None:
            await self._report(key, snapshot, fault)

        async with failures_reported(key, report):
            snapshot, secrets = await self._observer.complete(snapshot, self._now())
            plan = plan_cache(snapshot, self._settings, self._now())
            self._reports.ask(key, plan.questions)
            await self._executor.execute(snapshot.cache, plan)
        return min((wait for wait in (plan.requeue_after, secrets.read_again) if wait is not None), default=None)

    async def _report(self, key: ObjectRef, snapshot: CacheSnapshot, fault: Fault) -> None:
        """Report the fault in the status, unless it is transient and this is the first failure."""
        if self._failures(key) < fault.tolerated:
            return
        cache = self._observer.cache(key) or snapshot.cache  # a part of the plan may have been carried out
        present = replace(
            self._observer.snapshot(cache),
            secrets=snapshot.secrets,
            unlabelled_secrets=snapshot.unlabelled_secrets,
            events=snapshot.events,
        )
        await self._executor.execute(cache, plan_failed_cache(present, fault, self._settings, self._now()))
