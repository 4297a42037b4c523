"""What keeps a Job from finding the version of a model."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from embedding_operator.core.diagnosis.events import STUCK_AFTER
from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.initializer import model_missing
from embedding_operator.core.diagnosis.pod import diagnose
from embedding_operator.core.diagnosis.refusal import refusal
from embedding_operator.core.downloads import Download
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.reasons import Group, Reason
from embedding_operator.core.records import ConditionType, Finding
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.wording import sentence

__all__ = ["of_job", "refused"]

_RESOURCES = "spec.container.resources of a StorageContainer for this URI"
_OF_MODEL = frozenset(reason for reason in Reason if reason.group is Group.MODEL)


def of_job(
    wanted: Raw | None, resolved: ResolvedService, snapshot: Snapshot, now: datetime, download: Download | None = None
) -> Finding:
    """How far the Job is, or what is wrong. `wanted`: the Job as it was built; None: it is to be removed, and created
    again. `download`: how far it is. While a new one is at work, what the last one failed with stays.
    """
    if wanted is None:
        return Finding(Reason.RESOLVING, "The result of the last Job was lost with its pod: it is created again.")
    name = wanted["metadata"]["name"]
    live = next((each for each in snapshot.jobs if each["metadata"]["name"] == name), None)
    expected = ExpectedPod.of_job(resolved, wanted)
    expected = replace(expected, progress=expected.progress_at(download))
    found = _found(live, name, expected, snapshot, now)
    before = condition_of(snapshot.status, ConditionType.MODEL_AVAILABLE)
    is_of_this_spec = before.get("observedGeneration") == snapshot.service["metadata"].get("generation")
    if not found.is_trouble and is_of_this_spec and before.get("status") == "False" and before["reason"] in _OF_MODEL:
        return Finding(before["reason"], before["message"])
    return found


def _found(job: Raw | None, name: str, expected: ExpectedPod, snapshot: Snapshot, now: datetime) -> Finding:
    """The trouble of its live pod, else why its last pod failed, else how far it is."""
    pods = sorted(
        (pod for pod in snapshot.job_pods if pod.revision == name), key=lambda pod: (pod.created_at, pod.name)
    )
    live = next((pod for pod in reversed(pods) if not pod.is_gone), None)
    if live is not None:
        blocked = diagnose(live, expected, snapshot.pod_events.get(live.uid, ()), now).blocked
        if blocked is not None and blocked.is_trouble:
            return blocked
    failed = [pod for pod in pods if pod.initializer.terminated and pod.initializer.terminated.exit_code != 0]
    if failed:
        ended = model_missing(failed[-1].initializer, expected, attempt=len(failed))
        assert ended is not None  # noqa: S101 for the type checker: it failed
        return ended
    events = snapshot.pod_events.get(job["metadata"]["uid"], ()) if job else ()
    if job is not None and (without := _without_pods(job, pods, events, now)) is not None:
        return without
    if live is not None and live.initializer.running:
        return expected.progress
    return Finding(expected.progress.reason, f"{sentence(expected.progress.message)} Its pod is about to start.")


def _without_pods(job: Raw, pods: Sequence[Pod], events: Sequence[PodEvent], now: datetime) -> Finding | None:
    """The Job controller could not create a pod, or all that it created are gone; or the last one reported nothing."""
    name = job["metadata"]["name"]
    failed = condition_of(job.get("status") or {}, "Failed")
    if failed.get("status") == "True":
        words = sentence(failed.get("message") or failed.get("reason") or "no reason is given")
        return Finding(Reason.DOWNLOAD_FAILED, f"Job {name} failed: {words} It is created again within minutes.")
    if any(pod.initializer.terminated is not None for pod in pods):
        message = (
            f"Job {name} succeeded, but did not report the model. Check that the operator's storage "
            "image is of the operator's release."
        )
        return Finding(Reason.DOWNLOAD_FAILED, message)
    return None if pods else refused(job, events, now)


def refused(job: Raw, events: Sequence[PodEvent], now: datetime) -> Finding | None:
    """Why a Job has no pod: what its Events say, and what to do. None: it has not been long."""
    name = job["metadata"]["name"]
    if now - datetime.fromisoformat(job["metadata"]["creationTimestamp"]) < STUCK_AFTER:
        return None
    message = f"No pod of Job {name} has been created within {STUCK_AFTER.total_seconds():.0f} s"
    refusals = [each.message for each in events if each.reason == "FailedCreate"]
    if not refusals:
        return Finding(Reason.PODS_REFUSED, f"{message}. Check `kubectl describe job {name}`.")
    return Finding(Reason.PODS_REFUSED, f"{message}: {refusal(refusals[-1], _RESOURCES, _unspecified)}")


def _unspecified(resources: Sequence[str]) -> str:
    return f"{', '.join(resources)} in {_RESOURCES}"
