"""What one reconcile of a cache wants: the same `Plan` as for a service."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta

from embedding_operator.core.diagnosis.events import STUCK_AFTER, is_waiting
from embedding_operator.core.downloads import downloading
from embedding_operator.core.model_cache import build
from embedding_operator.core.model_cache.models import Models, decide
from embedding_operator.core.model_cache.records import kept_until, recorded
from embedding_operator.core.model_cache.resolve import ResolvedCache, resolve_cache
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.model_cache.status import CacheView, of_cache
from embedding_operator.core.plan import Plan
from embedding_operator.core.questions import of_downloads
from embedding_operator.core.records import EventRecord
from embedding_operator.core.writes import Create, Delete, Replace, Write, ref_of
from embedding_operator.errors import Fault, Refused
from embedding_operator.resources.model_cache import CachedModelState
from embedding_operator.settings import Settings

__all__ = ["plan_cache", "plan_failed_cache"]

_AFTER_CREATION = timedelta(seconds=1)
"""Delay of the next plan after a creation: the store has the object already, so its watch event triggers none."""
_MARGIN, _LATEST = timedelta(seconds=1), timedelta(minutes=10)
_NEWS = (CachedModelState.READY, CachedModelState.FAILED, CachedModelState.EVICTED)


def plan_cache(snapshot: CacheSnapshot, settings: Settings, now: datetime) -> Plan:
    """The plan of one cache. A spec that is refused changes nothing but the status. Raises RenderFailed, a bug."""
    view = CacheView(snapshot, settings, now)
    try:
        resolved = resolve_cache(snapshot, settings)
    except Refused as refused:
        return _with_status(Plan(), replace(view, problems=refused.problems))
    models = decide(resolved, snapshot, now)
    writes = tuple(_writes(resolved, models, snapshot, settings, now))
    waits = [_AFTER_CREATION] if any(isinstance(each, Create) for each in writes) else []
    waits += [wait] if (wait := _next_diagnosis(snapshot, now)) is not None else []
    waits += [datetime.fromisoformat(each.retry_at) - now for each in models.states if each.retry_at]
    ends = [until for each in models.removed if (until := kept_until(each))]
    waits += [until - now if until > now else _LATEST for until in ends]  # no Deployment that goes triggers a plan
    asked = frozenset(of_downloads(downloading(snapshot.pods)))
    plan = Plan(writes, events=_events(models, snapshot), requeue_after=min(waits, default=None), questions=asked)
    return _with_status(plan, replace(view, resolved=resolved, models=models))


def plan_failed_cache(snapshot: CacheSnapshot, fault: Fault, settings: Settings, now: datetime) -> Plan:
    """Report that a plan could not be made or carried out: a status and Events, nothing else. They have what Jobs have
    reported, which do not stay for long.
    """
    view = CacheView(snapshot, settings, now, fault=fault)
    try:
        resolved = resolve_cache(snapshot, settings)
        models = decide(resolved, snapshot, now)
    except Refused as refused:
        return _with_status(Plan(), replace(view, problems=refused.problems))
    except Exception:  # noqa: BLE001 the fault is what planning raised: it is reported without the models
        return _with_status(Plan(), view)
    return _with_status(Plan(events=_events(models, snapshot)), replace(view, resolved=resolved, models=models))


def _with_status(plan: Plan, view: CacheView) -> Plan:
    status = of_cache(view)
    return plan if status == view.snapshot.status else replace(plan, status=status)


def _next_diagnosis(snapshot: CacheSnapshot, now: datetime) -> timedelta | None:
    """When a Job without a pod, or a pod that does not start, counts as stuck; then less and less often, since Events
    are not watched.
    """
    with_pods = {pod.revision for pod in snapshot.pods}
    ages = [now - pod.created_at for pod in snapshot.pods if not pod.is_gone and is_waiting(pod)]
    ages += [
        now - datetime.fromisoformat(job["metadata"]["creationTimestamp"])
        for job in snapshot.jobs
        if job["metadata"]["name"] not in with_pods
    ]
    if not ages:
        return None
    age = min(ages)
    return STUCK_AFTER - age + _MARGIN if age < STUCK_AFTER else min(max(age / 2, STUCK_AFTER), _LATEST)


def _writes(
    resolved: ResolvedCache, models: Models, snapshot: CacheSnapshot, settings: Settings, now: datetime
) -> Iterator[Write]:
    """The claim, then what is of no use any more, then the downloads; last what a storage class may refuse."""
    wanted, live = build.claim(resolved, snapshot.claim_users), snapshot.claim
    if wanted is not None and live is None:
        yield Create(wanted)
    for run in models.to_delete:
        if not run.job["metadata"].get("deletionTimestamp"):
            yield Delete(ref_of(run.job))
    for model in models.to_start:
        if model.source is not None:
            yield Create(build.download_job(resolved, model.source, snapshot.kept(now), settings, now))
    if wanted is not None and live is not None:
        changed = build.with_owners(live, wanted) or build.enlarged(live, wanted)  # one after the other
        if changed is not None:
            yield Replace(changed)


def _events(models: Models, snapshot: CacheSnapshot) -> tuple[EventRecord, ...]:
    """Of models that have become ready, have failed or were evicted since the last status."""
    before = recorded(snapshot.status)
    news = (
        each
        for each in models.states
        if each.state in _NEWS and (each.storage_uri not in before or before[each.storage_uri].state is not each.state)
    )
    return tuple(
        EventRecord(
            "Normal" if each.state is CachedModelState.READY else "Warning",
            each.reason,
            f"{each.storage_uri}: {each.message}",
        )
        for each in news
    )
