"""What is known about one service, frozen: the one place of the core that reads raw API objects.

`Snapshot` is all that a plan depends on beside the settings and the time. Children are what the service owns by UID;
labels select, they prove nothing.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from embedding_operator.constants import DRAIN_ANNOTATION, INITIALIZER, REVISION_LABEL, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.kinds import DEPLOYMENT, SERVICE, Kind, kind_of

__all__ = [
    "LEGACY",
    "Container",
    "ObjectRef",
    "Pod",
    "PodEvent",
    "Raw",
    "Snapshot",
    "StorageRead",
    "Terminated",
    "condition_of",
    "is_controlled_by",
    "kind_ref",
    "pod_of",
    "revision_of",
]

Raw = Mapping[str, Any]
"""An object as the API has it, maybe trimmed by the store: metadata, spec and what plans need of status."""

LEGACY = "legacy"
"""Revision of the one Deployment that releases before revisions made: it carries no revision label."""


@dataclass(frozen=True)
class ObjectRef:
    """One object of the API. With a UID it is that very object, not another of the same name."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


@dataclass(frozen=True)
class Terminated:
    """How a container terminated. `reason` is the kubelet's (OOMKilled, Error, Completed), `message` the log's end."""

    exit_code: int
    reason: str
    message: str


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


@dataclass(frozen=True)
class Pod:
    """One pod of a Deployment that the service owns.

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

    @property
    def is_ready(self) -> bool:
        """It answers requests."""
        return self.ready_since is not None


@dataclass(frozen=True)
class PodEvent:
    """A Warning Event about a pod, such as FailedMount: what no status field says."""

    reason: str
    message: str


@dataclass(frozen=True)
class StorageRead:
    """One storage container as `storage.read` found it: `parsed` is None where this release cannot read it. With
    `problems` it fetches for nobody, and the services that use it are held as they are. `formats` are the
    `UriFormats`, as far as they can be read.
    """

    raw: Raw
    parsed: Any
    problems: tuple[str, ...] = ()
    formats: Any = None

    @property
    def is_cluster_wide(self) -> bool:
        """A ClusterStorageContainer."""
        return bool(self.raw["kind"] == "ClusterStorageContainer")

    def __str__(self) -> str:
        return f"{self.raw['kind']} {self.raw['metadata']['name']}"


@dataclass(frozen=True)
class Snapshot:
    """What is known about one service.

    `secrets`: the names of the keys of each Secret that the service needs, None for one that does not exist; only
    those that `resolve.secrets_needed` names are there. `others`: objects that carry the service's label, or a name
    that a builder wants, and belong to somebody else. `may_roll`: the rollout budget has room for a change that the
    user did not make.
    """

    service: Raw
    children: tuple[Raw, ...] = ()
    others: tuple[Raw, ...] = ()
    pods: tuple[Pod, ...] = ()
    pod_events: Mapping[str, tuple[PodEvent, ...]] = field(default_factory=dict)
    """By pod UID; only for pods that `diagnosis.needs_events` names."""
    storage_containers: tuple[StorageRead, ...] = ()
    secrets: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    unlabelled_secrets: frozenset[str] = frozenset()
    """Those of the Secrets that exist and lack USE_LABEL: not to be used where the policy asks for it."""
    may_roll: bool = True

    @property
    def uid(self) -> str:
        """The service's UID."""
        uid: str = self.service["metadata"]["uid"]
        return uid

    @property
    def status(self) -> Raw:
        """The service's present status; empty before the first."""
        return self.service.get("status") or {}

    def of_kind(self, kind: Kind) -> tuple[Raw, ...]:
        """The children of a kind, by name."""
        return tuple(child for child in self.children if kind_ref(child) is kind)

    @property
    def deployments(self) -> Mapping[str, Raw]:
        """The Deployments by revision, but those that are being deleted. Of two of one revision it is the one with the
        name that we gave it: a copy under another name has our labels and owner reference.
        """
        name = self.service["metadata"]["name"]
        alive = [each for each in self.of_kind(DEPLOYMENT) if not each["metadata"].get("deletionTimestamp")]
        alive.sort(key=lambda each: each["metadata"]["name"] in (name, f"{name}-{revision_of(each)}"))
        return {revision_of(each): each for each in alive}

    @property
    def frontend(self) -> Raw | None:
        """The Kubernetes Service that clients use, if it exists."""
        name = self.service["metadata"]["name"]
        return next((each for each in self.of_kind(SERVICE) if each["metadata"]["name"] == name), None)

    def live_pods(self, revision: str | None = None) -> tuple[Pod, ...]:
        """Pods that are not on their way out, of one revision or of all."""
        return tuple(pod for pod in self.pods if not pod.is_gone and revision in (None, pod.revision))


def kind_ref(raw: Raw) -> Kind:
    """The kind of a raw object. Raises KeyError for one that the operator does not touch."""
    return kind_of(raw["apiVersion"], raw["kind"])


def revision_of(raw: Raw) -> str:
    """The revision that a Deployment or pod belongs to."""
    revision: str = (raw["metadata"].get("labels") or {}).get(REVISION_LABEL, LEGACY)
    return revision


def is_controlled_by(raw: Raw, uid: str) -> bool:
    """Its controller, by ownerReference, is the object of that UID."""
    return any(each.get("controller") and each["uid"] == uid for each in raw["metadata"].get("ownerReferences") or ())


def condition_of(status: Raw, kind: str) -> Raw:
    """One condition of a status, as it is in the API; empty when there is none of that type."""
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


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
    started_at = ((raw.get("state") or {}).get("running") or {}).get("startedAt")
    changed_at = _time(ready)
    return bool(started_at and changed_at and changed_at > datetime.fromisoformat(started_at))


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
            terminated.get("exitCode", 0), terminated.get("reason", ""), terminated.get("message", "")
        )
        if terminated
        else None,
        restarts=raw.get("restartCount", 0),
    )
