"""What has become of each model of a cache, and which Jobs are created and deleted for it.

The status is the only record: Jobs go minutes after they have ended. A model that is Ready stays so until a Job of
this cache, of a service or of another cache reports that it was evicted from the volume. One that was evicted, or
failed for good, is left alone until the spec changes or, if it failed, a day has passed: so models that do not fit
together cannot displace each other for ever.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Self

from embedding_operator.core.model_cache import states
from embedding_operator.core.model_cache.build import job_name
from embedding_operator.core.model_cache.records import is_held, kept_until, recorded
from embedding_operator.core.model_cache.resolve import ResolvedCache, ResolvedModel
from embedding_operator.core.model_cache.runs import Run, run_of
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.reasons import Reason
from embedding_operator.resources.model_cache import CacheCapacityStatus, CachedModelState, CachedModelStatus
from embedding_runtime.contract import DownloadedModel, short_path

__all__ = ["Models", "decide"]

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Models:
    """`states` in the order of the spec. `to_start` are downloads to start now, `to_delete` Jobs that are of no use any
    more. `capacity` is None where no download has reported it yet. `removed` were in the spec, and are not evicted yet.
    """

    states: tuple[CachedModelStatus, ...]
    to_start: tuple[ResolvedModel, ...]
    to_delete: tuple[Run, ...]
    capacity: CacheCapacityStatus | None
    removed: tuple[CachedModelStatus, ...] = ()


@dataclass(frozen=True)
class _News:
    """What a download into the volume reported."""

    ended_at: datetime
    uri: str
    report: DownloadedModel

    @classmethod
    def of(cls, run: Run) -> Self | None:
        """From a Job that downloads no model of the spec; None: it has not reported."""
        at, report = run.reported_at, run.report
        return cls(at, run.uri, report) if at is not None and report is not None else None


@dataclass(frozen=True)
class _Found:
    """What was found of one model."""

    state: CachedModelStatus
    run: Run | None = None
    news: _News | None = None
    is_wanted: bool = False
    """There is no Job, and there should be one."""
    is_stale: bool = False
    """Its Job has ended, and is to be deleted for another attempt."""


def decide(resolved: ResolvedCache, snapshot: CacheSnapshot, now: datetime) -> Models:
    """The state of each model, and the Jobs to create and delete."""
    found_runs = (run_of(job, snapshot.pods, now, snapshot.progress, snapshot.events) for job in snapshot.jobs)
    runs = {run.name: run for run in found_runs}
    decider = _Decider(resolved, snapshot, runs, now)
    found = [decider.find(each) for each in resolved.models]
    used = {each.run.name for each in found if each.run is not None}
    at_work = sum(1 for name in used if runs[name].ended_at is None)
    wanted = [model for model, each in zip(resolved.models, found, strict=True) if each.is_wanted]
    to_start = wanted[: max(0, resolved.cache.spec.parallelism - at_work)]
    unused = [run for name, run in runs.items() if name not in used]
    others = [run_of(job, snapshot.others_pods, now) for job in snapshot.others]
    reports = [*(each.news for each in found), *(_News.of(run) for run in (*unused, *others))]
    news = sorted((each for each in reports if each is not None), key=lambda each: each.ended_at)
    latest = next((each.report for each in reversed(news) if each.report.used_bytes is not None), None)
    stale = [each.run for each in found if each.run is not None and each.is_stale]
    return Models(
        states=tuple(
            states.pending(model.uri, "Its Job is being created.")
            if model in to_start
            else _as_reported(each.state, news)
            for model, each in zip(resolved.models, found, strict=True)
        ),
        to_start=tuple(to_start),
        to_delete=(*unused, *stale),
        capacity=states.capacity(latest) if latest else states.recorded_capacity(snapshot.status),
        removed=decider.removed,
    )


class _Decider:
    """Decides about one model at a time. Records of another claim say nothing."""

    def __init__(
        self, resolved: ResolvedCache, snapshot: CacheSnapshot, runs: Mapping[str, Run], now: datetime
    ) -> None:
        self._resolved = resolved
        self._is_new_spec = snapshot.is_new_spec
        self._runs = runs
        self._now = now
        is_same_volume = snapshot.status.get("claim") == resolved.location.claim
        self._records = recorded(snapshot.status) if is_same_volume else {}
        self._kept = snapshot.kept(now)
        self._mounted = snapshot.mounted
        self.removed = tuple(self._find_removed()) if resolved.location.is_cluster_wide else ()
        were_removed = [each for each in self._records.values() if each.state is CachedModelState.REMOVED]
        self._may_free_room = any(each not in self.removed for each in were_removed)

    def find(self, model: ResolvedModel) -> _Found:
        """By its record, while that holds; else by its Job."""
        record, name = self._records.get(model.uri), None
        if model.source is not None:
            name = job_name(self._resolved, model.source)
            run = self._runs.get(name)
        else:
            run = next((each for each in self._runs.values() if each.uri == model.uri), None)
        if record is not None and self._holds(record, name):
            return _Found(record, run)
        if model.source is None:
            return _Found(states.refused(model), run)
        if run is None:
            most = self._resolved.cache.spec.parallelism
            waits = f"It waits for its turn: spec.parallelism is {most}."
            return _Found(states.pending(model.uri, waits), is_wanted=True)
        if run.ended_at is None:
            return _Found(states.at_work(model.uri, run), run)
        was_evicted = record is not None and record.state is CachedModelState.EVICTED
        return self._ended(model.uri, run, run.ended_at, was_evicted=was_evicted)

    def _find_removed(self) -> Iterator[CachedModelStatus]:
        """The models that the spec had and Deployments mount, or may be about to mount."""
        wanted = {each.uri for each in self._resolved.models}
        for uri, record in self._records.items():
            if uri not in wanted and record.state is CachedModelState.READY:
                yield states.removed(record, self._now)
            elif uri not in wanted and is_held(record, self._now, self._mounted):
                yield record

    def _holds(self, record: CachedModelStatus, name: str | None) -> bool:
        """The record still says what is so, whatever Jobs there are."""
        if record.state is CachedModelState.READY:
            return True
        if record.state is CachedModelState.EVICTED:
            return not self._is_new_spec
        if record.state is not CachedModelState.FAILED or record.retry_at is None or self._is_new_spec:
            return False
        if record.reason == Reason.INSUFFICIENT_STORAGE and self._may_free_room:
            return False
        return record.job == name and self._now < datetime.fromisoformat(record.retry_at)

    def _ended(self, uri: str, run: Run, ended_at: datetime, *, was_evicted: bool) -> _Found:
        """Of a Job that has ended, unless another attempt is due: then it has to go first. The Job of a model that was
        evicted later still says that it succeeded.
        """
        retry_at = self._retry_at(run, ended_at) if run.is_final else None
        is_another_spec = self._is_new_spec and (was_evicted or not run.has_succeeded)
        if is_another_spec or (retry_at is not None and self._now >= retry_at):
            return _Found(states.pending(uri, f"Job {run.name} is removed for another attempt."), run, is_stale=True)
        if not run.has_succeeded:
            return _Found(states.failed(uri, run, ended_at, retry_at), run)
        report = run.report
        if report is None or report.path is None:
            message = f"Job {run.name} has ended, and its report was not seen: it is created again within minutes."
            return _Found(states.pending(uri, message), run)
        return _Found(states.ready(uri, report, run.name, ended_at), run, _News(ended_at, uri, report))

    def _retry_at(self, run: Run, ended_at: datetime) -> datetime:
        """After a failure that is final: a day later, unless it lacked room that is free sooner."""
        if run.failure.reason == Reason.INSUFFICIENT_STORAGE:
            if run.keep - self._kept:
                return self._now
            ends = [kept_until(each) for each in self.removed if each.path in run.keep]
            waits = [each for each in ends if each is not None and each > self._now]
            if waits:
                return max(waits)
        return ended_at + _DAY


def _as_reported(state: CachedModelStatus, news: Iterable[_News]) -> CachedModelStatus:
    """A report names what was evicted before its download ended; what became ready later is not meant. `news`, oldest
    first, may have that somebody else has downloaded it again.
    """
    for each in news:
        if state.path is None or state.since is None or datetime.fromisoformat(state.since) > each.ended_at:
            continue
        if state.state is CachedModelState.READY and short_path(state.path) in each.report.evicted:
            state = states.evicted(state, each.uri, each.ended_at)
        elif state.state is CachedModelState.EVICTED and state.path == each.report.path:
            state = states.ready(state.storage_uri, each.report, state.job, each.ended_at)
    return state
