"""States of models as the status has them: read from the last status, and made anew."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from pydantic import ValidationError

from embedding_operator.core.memory import quantity
from embedding_operator.core.model_cache.build import JOB_STAYS_SECONDS
from embedding_operator.core.model_cache.records import STAYS
from embedding_operator.core.model_cache.resolve import ResolvedModel
from embedding_operator.core.model_cache.runs import Run
from embedding_operator.core.objects import Raw
from embedding_operator.core.reasons import WAITING, Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.reported import download_status
from embedding_operator.core.wording import shortened
from embedding_operator.resources.model_cache import CacheCapacityStatus, CachedModelState, CachedModelStatus
from embedding_runtime.contract import DownloadedModel, DownloadVerdict

__all__ = [
    "at_work",
    "capacity",
    "evicted",
    "failed",
    "pending",
    "ready",
    "recorded_capacity",
    "refused",
    "removed",
]

_MESSAGE_LENGTH = 500
_REMEDIES: Mapping[str, str] = {
    DownloadVerdict.MODEL_NOT_FOUND: "Correct its storageUri; if it is private, name a token in its tokenSecretRef.",
    DownloadVerdict.MODEL_UNAUTHORIZED: "Name a token that may read it in its tokenSecretRef.",
    DownloadVerdict.INSUFFICIENT_STORAGE: "Enlarge the volume or spec.capacity, or remove models from the spec.",
}


def recorded_capacity(status: Raw) -> CacheCapacityStatus | None:
    """What the last status says of the volume; None also for what another release wrote."""
    try:
        return CacheCapacityStatus.model_validate(status["capacity"]) if "capacity" in status else None
    except ValidationError:
        return None


def pending(uri: str, message: str, reason: str = Reason.PENDING) -> CachedModelStatus:
    """Nothing downloads it yet."""
    return _state(uri, CachedModelState.PENDING, Finding(reason, message))


def at_work(uri: str, run: Run) -> CachedModelStatus:
    """Its Job has not ended."""
    finding = run.progress
    is_pending = finding.reason == Reason.PENDING or not run.pods
    state = _state(uri, CachedModelState.PENDING if is_pending else CachedModelState.DOWNLOADING, finding)
    return state.model_copy(update={"job": run.name, "download": download_status(run.download)})


def ready(uri: str, report: DownloadedModel, job: str | None, ended_at: datetime) -> CachedModelStatus:
    """A Job has succeeded."""
    return CachedModelStatus(
        storage_uri=uri,
        state=CachedModelState.READY,
        revision=report.revision,
        path=report.path,
        bytes=report.weights_bytes,
        reason=Reason.DOWNLOADED,
        message=f"Its weights take {quantity(report.weights_bytes)}.",
        job=job,
        since=_time(ended_at),
    )


def failed(uri: str, run: Run, ended_at: datetime, retry_at: datetime | None) -> CachedModelStatus:
    """Its Job has failed. Without `retry_at` the next attempt comes when the Job has been removed."""
    finding = run.failure
    minutes = f"within {JOB_STAYS_SECONDS // 60} minutes"
    when = f"at {_time(retry_at)}, or when the spec changes" if retry_at else minutes
    parts = (finding.message, _REMEDIES.get(finding.reason, ""), f"It is tried again {when}.")
    state = _state(uri, CachedModelState.FAILED, Finding(finding.reason, " ".join(each for each in parts if each)))
    times = {"since": _time(ended_at), "retry_at": _time(retry_at) if retry_at else None}
    return state.model_copy(update={**times, "job": run.name})


def refused(model: ResolvedModel) -> CachedModelStatus:
    """It has problems; those that may go away by themselves are waited for."""
    finding = Finding.of_problems(model.problems)
    state = CachedModelState.PENDING if finding.reason in WAITING else CachedModelState.FAILED
    return _state(model.uri, state, finding)


def evicted(model: CachedModelStatus, by: str, since: datetime) -> CachedModelStatus:
    """The download of the URI `by`, or one before it, needed its room. Its path stays: it may come back."""
    message = (
        f"Its files were removed to make room for {shortened(by, 200)}: the models do not fit together. Enlarge the "
        "volume or spec.capacity, or remove models from the spec. It is downloaded again when the spec changes."
    )
    state = _state(model.storage_uri, CachedModelState.EVICTED, Finding(Reason.EVICTED, message))
    return state.model_copy(update={"since": _time(since), "path": model.path, "job": model.job})


def removed(record: CachedModelStatus, now: datetime) -> CachedModelStatus:
    """The spec has it no longer. Services may mount it, or have just been planned with it."""
    message = f"The spec does not list it: its files stay for {STAYS // timedelta(minutes=1)} minutes, then until"
    return record.model_copy(
        update={
            "state": CachedModelState.REMOVED,
            "message": f"{message} their room is needed, or as long as Deployments mount them.",
            "since": _time(now),
        }
    )


def capacity(report: DownloadedModel) -> CacheCapacityStatus:
    """What a report says of the volume."""
    used, free = report.used_bytes, report.free_bytes
    return CacheCapacityStatus(
        used_bytes=used,
        free_bytes=free,
        used=None if used is None else quantity(used),
        free=None if free is None else quantity(free),
    )


def _state(uri: str, state: CachedModelState, finding: Finding) -> CachedModelStatus:
    message = shortened(finding.message, _MESSAGE_LENGTH)
    return CachedModelStatus(storage_uri=uri, state=state, reason=str(finding.reason), message=message)


def _time(time: datetime) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ")
