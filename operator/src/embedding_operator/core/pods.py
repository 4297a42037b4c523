"""Pods of a service, read from raw objects: containers, readiness, scheduling."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from embedding_operator.constants import DRAIN_ANNOTATION, INITIALIZER, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.core.objects import Raw, condition_of, is_controlled_by, revision_of
from embedding_runtime.contract import DownloadedModel

__all__ = ["Container", "Pod", "PodEvent", "Terminated", "job_pod_of", "pod_of"]


@dataclass(frozen=True)
class Terminated:
    """How a container terminated. `reason` is the kubelet's (OOMKilled, Error, Completed), `message` the log's end."""

    exit_code: int
    reason: str
    message: str
    finished_at: datetime | None = None


@dataclass(frozen=True)
class Container:
    """One container of a pod. `terminated` is how it last terminated, also when it has been restarted since."""

    running: bool = False
    ready: bool = False
    started: bool = False
    """Its startup probe has passed, or it has none."""
    waiting: str | None = None
    waiting_message: str = ""
    terminated: Terminated | None = None
    restarts: int = 0
    started_at: datetime | None = None
    """When it was started, while it runs."""


@dataclass(frozen=True)
class Pod:
    """One pod of a Deployment that the service owns, or of a Job: then `revision` is the Job's name.

    `template` is the digest of the template it was made from. `is_gone`: it is being deleted, or was evicted; another
    takes its place. Times are those of the API server.
    """

    name: str
    uid: str
    revision: str
    template: str | None
    node: str | None
    created_at: datetime
    ready_since: datetime | None
    """When its Ready condition became True; None while it is not ready."""
    was_ready: bool
    """Its server is running and has been ready since it was started: what is wrong now came later."""
    scheduled_at: datetime | None
    draining_since: datetime | None
    """When it was annotated: its revision is about to drain."""
    is_gone: bool
    has_ended: bool
    """All its containers have terminated for good. An evicted pod stays in the API until it is deleted."""
    unschedulable: str | None
    """The scheduler's words; None when a node has it, or the scheduler has not tried."""
    initializer: Container
    server: Container
    ip: str | None = None
    """Its address, as its status has it."""

    @property
    def is_ready(self) -> bool:
        """It answers requests."""
        return self.ready_since is not None

    @property
    def downloaded(self) -> DownloadedModel | None:
        """What the initializer reports, when it has succeeded."""
        end = self.initializer.terminated
        return DownloadedModel.from_message(end.message) if end is not None and end.exit_code == 0 else None


@dataclass(frozen=True)
class PodEvent:
    """A Warning Event about a pod, such as FailedMount: what no status field says."""

    reason: str
    message: str


def pod_of(raw: Raw, deployments: Iterable[Raw]) -> Pod | None:
    """A pod, if its controller is a ReplicaSet of one of these Deployments; else it is somebody else's: None.

    ReplicaSets are not watched. Their name is the Deployment's with the pod-template-hash that the pod has as a label.
    """
    metadata = raw["metadata"]
    labels = metadata.get("labels") or {}
    controller: Raw = next((each for each in metadata.get("ownerReferences") or () if each.get("controller")), {})
    names = {f"{each['metadata']['name']}-{labels.get('pod-template-hash')}": each for each in deployments}
    owner = names.get(controller.get("name", "")) if controller.get("kind") == "ReplicaSet" else None
    return _pod(raw, revision_of(owner)) if owner is not None else None


def job_pod_of(raw: Raw, jobs: Iterable[Raw]) -> Pod | None:
    """A pod, if its controller is one of these Jobs. Its only container is an initializer."""
    owner = next((each for each in jobs if is_controlled_by(raw, each["metadata"]["uid"])), None)
    if owner is None:
        return None
    container = _container((raw.get("status") or {}).get("containerStatuses"), INITIALIZER)
    return replace(_pod(raw, owner["metadata"]["name"]), initializer=container)


def _pod(raw: Raw, revision: str) -> Pod:
    metadata, status = raw["metadata"], raw.get("status") or {}
    annotations = metadata.get("annotations") or {}
    ready, scheduled = condition_of(status, "Ready"), condition_of(status, "PodScheduled")
    server = _container(status.get("containerStatuses"), SERVER)
    has_ended = status.get("phase") in {"Failed", "Succeeded"}
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        revision=revision,
        template=annotations.get(TEMPLATE_ANNOTATION),
        node=(raw.get("spec") or {}).get("nodeName"),
        created_at=datetime.fromisoformat(metadata["creationTimestamp"]),
        ready_since=_time(ready) if ready.get("status") == "True" else None,
        was_ready=_was_ready(status, ready),
        scheduled_at=_time(scheduled) if scheduled.get("status") == "True" else None,
        draining_since=_drain_notice(annotations.get(DRAIN_ANNOTATION)),
        is_gone=bool(metadata.get("deletionTimestamp")) or has_ended,
        has_ended=has_ended,
        unschedulable=scheduled.get("message", "") if scheduled.get("reason") == "Unschedulable" else None,
        initializer=_container(status.get("initContainerStatuses"), INITIALIZER),
        server=server,
        ip=status.get("podIP"),
    )


def _drain_notice(text: str | None) -> datetime | None:
    """The time in the annotation. None for an invalid one: every user with write access to pods can set it."""
    try:
        time = datetime.fromisoformat(text or "")
    except ValueError:
        return None
    return time if time.tzinfo else None


def _was_ready(status: Raw, ready: Raw) -> bool:
    """A server that starts leaves the Ready condition as it was: it changes when the server becomes ready, or later."""
    raw: Raw = next((each for each in status.get("containerStatuses") or () if each["name"] == SERVER), {})
    started_at, changed_at = _started_at(raw.get("state") or {}), _time(ready)
    return bool(started_at and changed_at and changed_at > started_at)


def _started_at(state: Raw) -> datetime | None:
    text = (state.get("running") or {}).get("startedAt")
    return datetime.fromisoformat(text) if text else None


def _time(condition: Raw) -> datetime | None:
    text = condition.get("lastTransitionTime")
    return datetime.fromisoformat(text) if text else None


def _container(statuses: Sequence[Raw] | None, name: str) -> Container:
    raw = next((each for each in statuses or () if each["name"] == name), None)
    if raw is None:
        return Container()
    state, last = raw.get("state") or {}, raw.get("lastState") or {}
    waiting = state.get("waiting") or {}
    terminated = state.get("terminated") or last.get("terminated")
    return Container(
        running=state.get("running") is not None,
        ready=bool(raw.get("ready")),
        started=bool(raw.get("started")),
        waiting=waiting.get("reason"),
        waiting_message=waiting.get("message", ""),
        terminated=Terminated(
            terminated.get("exitCode", 0),
            terminated.get("reason", ""),
            terminated.get("message", ""),
            datetime.fromisoformat(terminated["finishedAt"]) if terminated.get("finishedAt") else None,
        )
        if terminated
        else None,
        restarts=raw.get("restartCount", 0),
        started_at=_started_at(state),
    )
