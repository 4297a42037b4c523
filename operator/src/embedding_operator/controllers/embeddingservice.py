"""Reconciles one EmbeddingService."""

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta

from embedding_operator.controllers.reporting import failures_reported
from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.plan import plan_failed, plan_service
from embedding_operator.core.records import EventRecord, Finding
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.wording import sentence
from embedding_operator.errors import Fault
from embedding_operator.settings import Settings
from embedding_operator.shell.budget import RolloutBudget
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.managers import Managers
from embedding_operator.shell.observer import Observer
from embedding_operator.shell.pod_reports import PodReports

__all__ = ["EmbeddingServiceController"]

_log = logging.getLogger(__name__)


class EmbeddingServiceController:
    """`failures` says how often in a row a key has failed before."""

    def __init__(
        self,
        observer: Observer,
        executor: Executor,
        recorder: EventRecorder,
        managers: Managers,
        budget: RolloutBudget[ObjectRef],
        *,
        reports: PodReports,
        settings: Settings,
        now: Callable[[], datetime],
        failures: Callable[[ObjectRef], int],
    ) -> None:
        self._observer = observer
        self._executor = executor
        self._recorder = recorder
        self._managers = managers
        self._budget = budget
        self._reports = reports
        self._settings = settings
        self._now = now
        self._failures = failures

    async def reconcile(self, key: ObjectRef) -> timedelta | None:
        """Returns the delay until the next reconcile, or None. Raises Fault after writing it to the status."""
        service = self._observer.service(key)
        if service is None:
            self._forget(key)
            return None  # what it owned goes by owner references, with this process or without
        try:
            other = await self._managers.other_manager(service)
            snapshot = self._observer.snapshot(service)
        except Exception:
            self._budget.failed(key)  # otherwise all services would wait for this one's first plan
            raise
        if other is not None:
            self._budget.forget(key)
            self._reports.forget(key)
            if other.is_news:
                _log.warning("%s: %s", key, other.message)
                await self._recorder.record(service, EventRecord("Warning", "ConflictingManager", other.message))
            return other.requeue_after
        return await self._attempt(key, snapshot)

    def _forget(self, key: ObjectRef) -> None:
        """Forget a service that was deleted."""
        namespace = key.namespace or ""
        self._budget.forget(key)
        self._reports.forget(key)
        self._managers.forget(namespace, key.name)
        self._observer.forget(namespace, key.name)

    async def _attempt(self, key: ObjectRef, snapshot: Snapshot) -> timedelta | None:
        async def report(fault: Fault) -> None:
            await self._report(key, snapshot, fault)

        async with failures_reported(key, report):
            snapshot, secrets = await self._observer.complete(snapshot, self._now())
            # From here to `settle` nothing is awaited: no other plan takes the slot in between.
            snapshot = replace(snapshot, may_roll=self._budget.may_roll(key))
            plan = plan_service(snapshot, self._settings, self._now())
            self._budget.settle(key, plan.budget)
            self._reports.ask(key, plan.questions)
            refused = await self._executor.attempt(snapshot.service, plan.check)
            if refused is not None:
                _log.warning("%s: the check for a newer version of its model was refused: %s", key, refused)
                finding = Finding(refused.condition().reason, sentence(refused.condition().message))
                plan = plan_service(replace(snapshot, refused_check=finding), self._settings, self._now())
            await self._executor.execute(snapshot.service, plan)
        return min((wait for wait in (plan.requeue_after, secrets.read_again) if wait is not None), default=None)

    async def _report(self, key: ObjectRef, snapshot: Snapshot, fault: Fault) -> None:
        """Report the fault in the status, unless it is transient and this is the first failure."""
        self._budget.failed(key)
        if self._failures(key) < fault.tolerated:
            return
        snapshot = self._observer.refreshed(snapshot)  # a part of the plan may have been carried out
        plan = plan_failed(snapshot, fault, self._settings, self._now())
        await self._executor.execute(snapshot.service, replace(plan, writes=()))
