"""Whether a service is ready, progressing or stuck: the one decision behind Ready, Reconciling and Stalled."""

from dataclasses import dataclass
from enum import Enum

from embedding_operator.core.reasons import WAITING, Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.rollout import Phase, Rollout
from embedding_operator.core.view import View
from embedding_operator.core.wording import sentence

__all__ = ["Progress", "Verdict", "judge"]


class Verdict(Enum):
    """What kstatus calls it."""

    CURRENT = "Current"
    RECONCILING = "InProgress"
    STALLED = "Failed"


@dataclass(frozen=True)
class Progress:
    """The verdict, and why."""

    verdict: Verdict
    reason: str
    message: str


_QUEUED = " A change of the operator's settings or of a storage container waits until fewer services roll out."
"""The service is as its spec says, so it is ready: the wait may last for hours where there are many services."""


def judge(view: View) -> Progress:
    """The most severe deviation from the desired state."""
    for step in (_deleted, _rejected, _faulty, _resolving, _rolling, _troubled, _applying, _arriving, _draining):
        if (progress := step(view)) is not None:
            return progress
    queued = _QUEUED if view.budget_waits else ""
    if view.replicas == 0:
        message = f"Nothing runs because spec.replicas is 0.{queued}"
        return Progress(Verdict.CURRENT, Reason.SCALED_TO_ZERO, message)
    message = f"{view.replicas} of {view.replicas} replicas are ready.{queued}"
    return Progress(Verdict.CURRENT, Reason.READY, message)


def _deleted(view: View) -> Progress | None:
    if not view.service["metadata"].get("deletionTimestamp"):
        return None
    return _reconciling(Reason.TERMINATING, "The service is being deleted.")


def _rejected(view: View) -> Progress | None:
    if not view.problems:
        return None
    finding = Finding.of_problems(view.problems)
    note = " Running pods are left as they are and answer requests." if view.answering else ""
    verdict = Verdict.RECONCILING if finding.reason in WAITING else Verdict.STALLED
    return Progress(verdict, finding.reason, finding.message + note)


def _faulty(view: View) -> Progress | None:
    if view.fault is None:
        return None
    condition = view.fault.condition()
    message = sentence(condition.message) + _still_serving(view)
    if condition.is_stalled:
        return Progress(Verdict.STALLED, condition.reason, message)
    return _reconciling(condition.reason if condition.reason in WAITING else Reason.RETRYING, message)


def _resolving(view: View) -> Progress | None:
    finding = view.resolving
    if finding is None:
        return None
    message = sentence(finding.message) + _still_serving(view)
    if finding.is_trouble and view.is_late:
        return Progress(Verdict.STALLED, finding.reason, message)
    return _reconciling(finding.reason, message)


def _rolling(view: View) -> Progress | None:
    rollout = view.rollout
    if rollout is None:
        return None
    if rollout.phase is Phase.HELD and rollout.failed is not None:
        message = (
            f"Revision {rollout.desired} failed and was removed: {sentence(rollout.failed.message)}"
            f"{_still_serving(view)} Change the spec to try again."
        )
        return Progress(Verdict.STALLED, rollout.failed.reason, message)
    if rollout.phase in (Phase.SURGE, Phase.IN_PLACE):
        return _candidate(view, rollout)
    return None


def _candidate(view: View, rollout: Rollout) -> Progress:
    if view.blocked is not None:
        finding = view.blocked
    elif view.current:
        ready = min(sum(pod.is_ready for pod in view.current), view.replicas)
        message = f"Revision {rollout.desired} is about to take over: {ready} of {view.replicas} pods are ready."
        finding = Finding(Reason.ROLLING_OUT, message)
    else:
        finding = Finding(Reason.ROLLING_OUT, f"The pods of revision {rollout.desired} are being created.")
    message = sentence(finding.message) + _still_serving(view)
    if rollout.phase is Phase.IN_PLACE and not view.answering:
        message += " The previous version has made room for it; it comes back if this one fails."
    return _reconciling(finding.reason, message)


def _troubled(view: View) -> Progress | None:
    """Past the deadline it counts as stuck, and so does a pod that has neither words nor work."""
    blocked = view.blocked
    if blocked is None:
        return None
    if view.is_late and blocked.reason not in (Reason.DOWNLOADING, Reason.LOADING, Reason.ROLLING_OUT):
        message = sentence(blocked.message) + _still_serving(view)
        return Progress(Verdict.STALLED, Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    if not blocked.is_trouble:
        return None
    return _reconciling(blocked.reason, sentence(blocked.message) + _still_serving(view))


def _applying(view: View) -> Progress | None:
    """Objects are being written, or the Deployment controller has not seen the last write."""
    deployment = view.desired_deployment
    is_missing = view.has_writes or view.snapshot.frontend is None or deployment is None
    status = (deployment or {}).get("status") or {}
    if not is_missing and status.get("observedGeneration", 0) >= (deployment or {})["metadata"].get("generation", 0):
        return None
    if not view.snapshot.pods:  # in the words of the next step, so that a new service costs one status less
        words = (
            f"0 of {view.replicas} pods created." if view.replicas else "The objects of the service are being created."
        )
        return _reconciling(Reason.PENDING, words)
    return _reconciling(Reason.ROLLING_OUT, "The pods are being updated." + _still_serving(view))


def _arriving(view: View) -> Progress | None:
    """Pods that are not there, not ready, or not ready for long enough."""
    there, wanted = len(view.current), view.replicas
    if view.blocked is not None:
        return _reconciling(view.blocked.reason, sentence(view.blocked.message) + _still_serving(view))
    if there < wanted:
        message = f"{there} of {wanted} pods created.{_still_serving(view)}"
        if view.is_late:
            return Progress(Verdict.STALLED, Reason.PROGRESS_DEADLINE_EXCEEDED, message)
        return _reconciling(Reason.PENDING, message)
    settled = len(view.settled)
    if settled < min(there, wanted):
        message = f"{settled} of {wanted} replicas are ready; the others are being added to the Service."
        return _reconciling(Reason.ROLLING_OUT, message)
    return None


def _draining(view: View) -> Progress | None:
    surplus = len(view.current) - view.replicas
    if surplus > 0:
        return _reconciling(Reason.ROLLING_OUT, f"spec.replicas is {view.replicas}: surplus pods are being removed.")
    drains = view.rollout is not None and any(each != view.aimed_at for each in view.rollout.replicas)
    if view.outdated or drains:
        return _reconciling(Reason.ROLLING_OUT, "Pods of the previous version are being removed.")
    return None


def _reconciling(reason: str, message: str) -> Progress:
    return Progress(Verdict.RECONCILING, reason, message)


def _still_serving(view: View) -> str:
    return " The previous version is still serving." if view.previous_serves else ""
