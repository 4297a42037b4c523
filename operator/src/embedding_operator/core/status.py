"""The status of a service and of a storage container, as the API server gets it."""

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

from embedding_operator.core import names, storage
from embedding_operator.core.conditions import calculate
from embedding_operator.core.diagnosis.events import STUCK_AFTER, is_waiting
from embedding_operator.core.downloads import JUDGED_AFTER
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Condition, State
from embedding_operator.core.reported import backend_status, service_download
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.rollout_state import SETTLE
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.core.view import View
from embedding_operator.core.wording import one_sentence, sentence, shortened
from embedding_operator.resources.kubernetes import Condition as ConditionStatus
from embedding_operator.resources.service_status import (
    Address,
    CodeStatus,
    FailedRevisionStatus,
    ModelStatus,
    RevisionStatus,
    StorageStatus,
)
from embedding_operator.resources.storage_container import StorageContainerStatus

__all__ = ["next_deadline", "of_service", "of_storage_container", "timed"]

_NAME_LENGTH = 64
"""The most characters of the model's name: `kubectl get` prints it, in a column as wide as the longest name."""
_KEPT = ("url", "address", "backend", "backendReason", "model", "storageContainer", "selector", "revision")
"""What stays while the spec is rejected, or not known: clients and autoscalers go on with the pods that run."""


def of_service(view: View) -> dict[str, Any]:
    """The whole new status, an `EmbeddingServiceStatus`. What is kept may be of another release: it is not read."""
    pods = view.snapshot.live_pods(view.serving) if view.serving else ()
    if not pods and view.rollout is not None:
        pods = view.snapshot.live_pods(view.rollout.desired)
    return {
        **_kept(view.snapshot.status),
        **_of_resolved(view),
        "observedGeneration": view.service["metadata"].get("generation"),
        "manager": view.settings.manager,
        "replicas": len(pods),
        "readyReplicas": sum(pod.is_ready for pod in pods),
        "conditions": [each.to_dict() for each in timed(view.service, calculate(view), view.now)],
    }


def of_storage_container(storage_read: StorageRead, now: datetime) -> dict[str, Any]:
    """The whole new status: whether services can use it, and for which URIs."""
    status = StorageContainerStatus(
        observed_generation=storage_read.raw["metadata"].get("generation"),
        conditions=timed(storage_read.raw, [_of_storage(storage_read)], now),
    )
    return status.to_dict()


def next_deadline(view: View) -> timedelta | None:
    """How long until the status may change without an event; None: never."""
    times = [pod.ready_since + SETTLE for pod in view.current if pod.ready_since]
    if view.resolving is not None or view.is_checking:
        times += [
            datetime.fromisoformat(job["metadata"]["creationTimestamp"]) + STUCK_AFTER for job in view.snapshot.jobs
        ]
        times += [pod.created_at + STUCK_AFTER for pod in view.snapshot.job_pods if is_waiting(pod)]
    times += [pod.created_at + STUCK_AFTER for pod in view.current if not pod.is_ready and is_waiting(pod)]
    if view.download is not None and view.download.started_at is not None:
        times.append(view.download.started_at + JUDGED_AFTER)
    if view.deadline is not None and (view.resolving or len(view.settled) < view.replicas):
        times.append(view.deadline)
    return min((time - view.now for time in times if time > view.now), default=None)


def _kept(before: Raw) -> dict[str, Any]:
    kept = {key: value for key, value in before.items() if key in _KEPT}
    if "download" in (kept.get("model") or {}):  # of a moment, unlike the rest
        kept["model"] = {key: value for key, value in kept["model"].items() if key != "download"}
    return kept


def _of_resolved(view: View) -> dict[str, Any]:
    """What the spec decides, where it is valid."""
    if view.resolved is None:
        return {}
    resolved = view.resolved
    url = names.url(resolved.service, view.settings)
    return {
        "url": url,
        "address": Address(url=url).to_dict(),
        **backend_status(view, url),
        "model": _model(view, resolved).to_dict(),
        "storageContainer": StorageStatus(
            kind=resolved.fetcher.kind, name=resolved.fetcher.name, chosen_by=resolved.fetcher.chosen_by
        ).to_dict(),
        **_revision(view),
    }


def _model(view: View, resolved: ResolvedService) -> ModelStatus:
    """The model of the pods that serve, or of the first ones that start."""
    revision = view.serving or (view.rollout.desired if view.rollout else None)
    downloaded = view.downloaded(revision)
    code = downloaded.code if downloaded else {}
    return ModelStatus(
        name=shortened(resolved.serve.model_name, _NAME_LENGTH),
        revision=view.model_version(revision),
        code=[CodeStatus(repository=name, revision=commit) for name, commit in sorted(code.items())] or None,
        download=service_download(view),
    )


def _revision(view: View) -> dict[str, Any]:
    """Revisions, and the selector of the pods that serve: after a fault (the plan stopped), what the Service has."""
    rollout = view.rollout
    if rollout is None or view.resolved is None or rollout.serving not in rollout.replicas:
        return {}
    failed = rollout.failed
    serving = (view.serving if view.fault else None) or rollout.serving
    status = RevisionStatus(
        serving=serving,
        candidate=rollout.candidate,
        generation=view.snapshot.rolled_out if view.fault or view.budget_waits or view.resolving else view.generation,
        failed=FailedRevisionStatus(
            revision=failed.revision,
            reason=failed.reason,
            message=shortened(failed.message, 1000),
            model=failed.model,
            template=failed.template,
        )
        if failed
        else None,
    )
    return {"revision": status.to_dict(), "selector": names.label_selector(view.resolved.service, serving)}


def _of_storage(storage_read: StorageRead) -> Condition:
    if storage_read.problems or storage_read.parsed is None:
        message = one_sentence(storage_read.problems)
        held = " Services that use it stay as they are until it is corrected."
        return Condition("Accepted", State.FALSE, Reason.INVALID_SPEC, message + held)
    if why_not := storage.out_of_use(storage_read):
        return Condition("Accepted", State.FALSE, Reason.DISABLED, f"No service uses it: it {sentence(why_not)}")
    formats = [each.prefix or f"/{each.regex}/" for each in storage_read.parsed.spec.supported_uri_formats]
    message = (
        f"It downloads {', '.join(formats)}."
        if formats
        else "It has no supportedUriFormats: it downloads what no other storage container claims, but not pvc:// and "
        "file://."
    )
    return Condition("Accepted", State.TRUE, Reason.ACCEPTED, message)


def timed(raw: Raw, conditions: Iterable[Condition], now: datetime) -> list[ConditionStatus]:
    """Conditions as the API has them. One whose status has not changed keeps the time of its last transition."""
    before = raw.get("status") or {}
    result = []
    for each in conditions:
        old = condition_of(before, each.type)
        kept = old.get("lastTransitionTime") if old.get("status") == each.status else None
        result.append(
            ConditionStatus(
                type=str(each.type),
                status=each.status.value,
                reason=str(each.reason),
                message=each.message,
                last_transition_time=kept or now.strftime("%Y-%m-%dT%H:%M:%SZ"),
                observed_generation=raw["metadata"].get("generation"),
                severity="Warning" if each.is_warning else None,
            )
        )
    return result
