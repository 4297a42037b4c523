"""What Events say of a pod that no field of its status says; and which pods' Events are worth a call."""

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta

from embedding_operator.core.diagnosis.kubelet import missing_reference
from embedding_operator.core.objects import Raw
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.wording import sentence
from embedding_runtime.contract import KILLED

__all__ = [
    "STOPPED",
    "STUCK_AFTER",
    "failed_probe",
    "is_waiting",
    "jobs_need_events",
    "needs_events",
    "node_lost",
    "not_started",
]

STUCK_AFTER = timedelta(seconds=30)
"""A pod whose containers have not started this long after its creation is reported as stuck."""

STOPPED = (0, KILLED, 128 + 15)
"""Exit codes of a server that the kubelet stops after a failed probe: it obeys, is killed, or dies of SIGTERM."""

_MOST_PODS = 5
"""Pods whose Events are read in one reconcile. Each costs a call, and a few are enough to find the cause."""

_VOLUMES = ("FailedMount", "FailedAttachVolume", "FailedMapVolume")
_SANDBOX = ("FailedCreatePodSandBox", "FailedCreatePodContainer", "NetworkNotReady", "FailedPodSandBoxStatus")
_SUMMARY = "Unable to attach or mount volumes"
"""How the kubelet's summary begins; the Events before it have the cause."""


def needs_events(snapshot: Snapshot, now: datetime) -> tuple[str, ...]:
    """UIDs of pods whose status does not say what is wrong with them: a few, where there are many. And of Jobs that
    have no pod: no field of theirs says why.
    """
    silent = [*jobs_need_events(snapshot.jobs, snapshot.job_pods, now)]
    silent += [
        pod.uid
        for pod in snapshot.live_pods()
        if not pod.is_ready and ((is_waiting(pod) and now - pod.created_at >= STUCK_AFTER) or _was_stopped(pod))
    ]
    return tuple(silent[:_MOST_PODS])


def jobs_need_events(jobs: Iterable[Raw], pods: Sequence[Pod], now: datetime) -> tuple[str, ...]:
    """The same of Jobs and their pods."""
    with_pods = {pod.revision for pod in pods}
    silent = [
        job["metadata"]["uid"]
        for job in jobs
        if job["metadata"]["name"] not in with_pods
        and now - datetime.fromisoformat(job["metadata"]["creationTimestamp"]) >= STUCK_AFTER
    ]
    silent += [pod.uid for pod in pods if not pod.is_gone and is_waiting(pod) and now - pod.created_at >= STUCK_AFTER]
    return tuple(silent[:_MOST_PODS])


def is_waiting(pod: Pod) -> bool:
    """Neither of its containers runs, and nothing in its status says why."""
    waiting = (None, "PodInitializing", "ContainerCreating")
    return pod.unschedulable is None and all(
        not each.running and each.waiting in waiting and (each.terminated is None or each.terminated.exit_code == 0)
        for each in (pod.initializer, pod.server)
    )


def not_started(pod: Pod, events: Sequence[PodEvent]) -> Finding:
    """Why the containers of a pod have not started for a long time."""
    volumes = [each.message for each in events if each.reason in _VOLUMES]
    causes = [words for words in volumes if not words.startswith(_SUMMARY)] or volumes
    if causes:
        missing = missing_reference(causes[-1])
        message = f"A volume of the pod cannot be mounted: {sentence(causes[-1])} Check the volume and its driver."
        return missing or Finding(Reason.VOLUME_NOT_MOUNTED, message)
    if sandbox := [each for each in events if each.reason in _SANDBOX]:
        last = sandbox[-1]
        message = (
            f"Node {pod.node} cannot start the pod: {sentence(last.message)} Check the node's network and runtime."
        )
        return Finding(last.reason, message)
    seconds = int(STUCK_AFTER.total_seconds())
    if pod.node is None:
        message = (
            f"The scheduler has not placed pod {pod.name} within {seconds} s, and gives no reason. Check that the "
            "scheduler runs and that the pod has no scheduling gates."
        )
    else:
        message = (
            f"Node {pod.node} has not started the containers of pod {pod.name} within {seconds} s, and gives no "
            "reason. It may be pulling a large image. Check `kubectl describe pod` and the node."
        )
    return Finding(Reason.PENDING, message)


def failed_probe(events: Sequence[PodEvent], probe: str) -> str | None:
    """The kubelet's words about a failed probe: Liveness, Readiness or Startup. None: no such Event."""
    start = f"{probe} probe failed: "
    words = [each.message for each in events if each.reason == "Unhealthy" and each.message.startswith(start)]
    return sentence(words[-1].removeprefix(start)) if words else None


def node_lost(pod: Pod, events: Sequence[PodEvent]) -> Finding | None:
    """The node controller has marked the pod as not ready, because its node does not report."""
    if all(each.reason != "NodeNotReady" for each in events):
        return None
    message = (
        f"Node {pod.node} has stopped reporting. Kubernetes replaces pod {pod.name} when the node stays away, after 5 "
        f"minutes by default. Check `kubectl describe node {pod.node}`."
    )
    return Finding(Reason.NODE_LOST, message)


def _was_stopped(pod: Pod) -> bool:
    """It lost its readiness, or ended as a server ends that the kubelet stops: only Events tell which probe failed."""
    end = pod.server.terminated
    stopped = end is not None and end.reason != "OOMKilled" and end.exit_code in STOPPED
    return stopped or (pod.server.running and pod.was_ready)
