"""The writes that turn the existing children into the desired ones."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from embedding_operator.constants import ADOPT_ANNOTATION, DRAIN_ANNOTATION
from embedding_operator.core.build import Desired
from embedding_operator.core.diff import foreign_fields, needs_write, replacement
from embedding_operator.core.objects import ObjectRef, Raw, kind_ref, revision_of
from embedding_operator.core.rollout import Rollout
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.errors import NameTaken, Terminating
from embedding_operator.kinds import DEPLOYMENT, JOB, PERSISTENT_VOLUME_CLAIM, POD

__all__ = [
    "Annotate",
    "Create",
    "Delete",
    "Replace",
    "Scale",
    "Write",
    "create_over",
    "drain_notices",
    "ref_of",
    "target_of",
    "way_back",
    "writes",
]


@dataclass(frozen=True)
class Create:
    """POST an object that does not exist. On 409 AlreadyExists the executor reads what has the name: it is taken over
    when it carries ADOPT_ANNOTATION and no other controller, else NameTaken is raised.
    """

    object: dict[str, Any]


@dataclass(frozen=True)
class Replace:
    """PUT an object of ours over the version in the snapshot; its `metadata.resourceVersion` is set. 409: Conflict.

    422: what exists cannot become what is wanted (an immutable field). `recreate` says that the object holds nothing
    that would be lost with it, so it is deleted (by UID) and created anew; else Denied goes into the status.
    """

    object: dict[str, Any]
    recreate: bool = False
    removes: tuple[str, ...] = ()
    """Fields that others had added to the spec."""


@dataclass(frozen=True)
class Scale:
    """Merge-patch `spec.replicas` of the Deployment with that UID and resourceVersion."""

    ref: ObjectRef
    resource_version: str
    replicas: int


@dataclass(frozen=True)
class Annotate:
    """Merge-patch annotations of that very object (`metadata.uid` is a precondition); None removes one. 404 and 409
    are no failures: the object is gone.
    """

    ref: ObjectRef
    annotations: Mapping[str, str | None]


@dataclass(frozen=True)
class Delete:
    """DELETE that very object (preconditions.uid), its dependents in the background. 404 and 409: already gone."""

    ref: ObjectRef


Write = Create | Replace | Scale | Annotate | Delete


def writes(desired: Sequence[Desired], rollout: Rollout, snapshot: Snapshot) -> tuple[Write, ...]:
    """In order: what is wanted, then Deployments of other revisions scaled, the deletions, and what may be refused.

    So a Service has left a revision before that is scaled down, and a rollback scales up before it deletes. Raises
    NameTaken, or Terminating where the name becomes free by itself.
    """
    wanted = tuple(_wanted(desired, snapshot))
    last = tuple(each for each in wanted if _may_be_refused(each))
    others = (each for each in wanted if each not in last)
    return (*others, *_scaled(rollout, snapshot), *_pruned(desired, rollout, snapshot), *last)


def drain_notices(rollout: Rollout, snapshot: Snapshot, now: datetime) -> tuple[Annotate, ...]:
    """Annotate the serving revision's pods that are about to drain; remove the annotation if they keep serving."""
    namespace = snapshot.service["metadata"]["namespace"]
    since = now.isoformat() if rollout.announces_drain else None
    return tuple(
        Annotate(ObjectRef(POD.api_version, POD.name, namespace, pod.name, pod.uid), {DRAIN_ANNOTATION: since})
        for pod in snapshot.live_pods(rollout.serving)
        if pod.server.running and (pod.draining_since is None) is rollout.announces_drain
    )


def way_back(serving: str | None, replicas: int, snapshot: Snapshot) -> tuple[Write, ...]:
    """From a rollout in place to the serving revision: nothing if that has not been scaled to zero for a candidate."""
    recorded = (snapshot.status.get("revision") or {}).get("candidate")
    live, candidate = snapshot.deployments.get(serving or ""), snapshot.deployments.get(recorded or "")
    if live is None or candidate is None or candidate is live or replicas < 1 or live["spec"].get("replicas") != 0:
        return ()
    return Scale(ref_of(live), live["metadata"]["resourceVersion"], replicas), Delete(ref_of(candidate))


def target_of(write: Write) -> ObjectRef:
    """The object that is written."""
    return ref_of(write.object) if isinstance(write, Create | Replace) else write.ref


def ref_of(raw: Raw) -> ObjectRef:
    """A reference to that very object."""
    meta = raw["metadata"]
    return ObjectRef(raw["apiVersion"], raw["kind"], meta.get("namespace"), meta["name"], meta.get("uid"))


def _wanted(desired: Sequence[Desired], snapshot: Snapshot) -> Iterator[Write]:
    children, others = _by_key(snapshot.children), _by_key(snapshot.others)
    for each in desired:
        live = children.get(_key(each))
        if live is None and kind_ref(each) is JOB:
            yield Create(each)  # if its name is taken, that must not stop the rest: the API server says so
        elif live is None:
            yield create_over(each, others.get(_key(each)), snapshot.service)
        elif kind_ref(each) is JOB:
            continue  # its name has what it does; what else it was created with, such as the time, stays
        elif not _is_terminating(live) and needs_write(each, live):
            yield Replace(replacement(each, live), _holds_nothing(live, snapshot), foreign_fields(each, live))


def create_over(desired: Desired, other: Raw | None, service: Raw) -> Write:
    """The write that creates an object, or adopts an existing one of that name. Objects with another owner are never
    overwritten: raises NameTaken, or Terminating if the existing object is being deleted.
    """
    if other is None:
        return Create(desired)
    meta = other["metadata"]
    controller = next((each for each in meta.get("ownerReferences") or () if each.get("controller")), None)
    if controller is None and (meta.get("annotations") or {}).get(ADOPT_ANNOTATION) == "true":
        if kind_ref(desired) is PERSISTENT_VOLUME_CLAIM:  # it can only grow, as the next plan says
            desired = {**desired, "spec": dict(other["spec"])}
        return Replace(replacement(desired, other), recreate=False)
    if _is_terminating(other) or (
        controller and controller["kind"] == service["kind"] and controller["name"] == _name(service)
    ):
        raise Terminating(f"{ref_of(other)} is being deleted; it is created anew when it is gone")
    raise NameTaken(ref_of(other), service["kind"], controller)


def _scaled(rollout: Rollout, snapshot: Snapshot) -> Iterator[Scale]:
    for revision, live in snapshot.deployments.items():
        is_built = revision == rollout.desired
        replicas = rollout.replicas.get(revision)
        if is_built or replicas is None or _is_terminating(live) or live["spec"].get("replicas", 1) == replicas:
            continue
        yield Scale(ref_of(live), live["metadata"]["resourceVersion"], replicas)


def _pruned(desired: Sequence[Desired], rollout: Rollout, snapshot: Snapshot) -> Iterator[Delete]:
    """Children that no builder yields any more, but Deployments that the rollout keeps."""
    wanted = _by_key(desired)
    kept = [_key(each) for revision, each in snapshot.deployments.items() if revision in rollout.replicas]
    for child in snapshot.children:
        is_kept = _key(child) in kept
        if _key(child) not in wanted and not is_kept and not _is_terminating(child):
            yield Delete(ref_of(child))


def _may_be_refused(write: Write) -> bool:
    """A quota of Jobs, or a storage class that enlarges no volume, must not stop what keeps the service serving."""
    if isinstance(write, Create):
        return kind_ref(write.object) is JOB
    return isinstance(write, Replace) and kind_ref(write.object) is PERSISTENT_VOLUME_CLAIM


def _holds_nothing(live: Raw, snapshot: Snapshot) -> bool:
    """Deleting it takes no pod down, and loses no data. A Service gets another cluster IP, which its name follows."""
    if kind_ref(live) is PERSISTENT_VOLUME_CLAIM:
        return False
    return kind_ref(live) is not DEPLOYMENT or not snapshot.live_pods(revision_of(live))


def _is_terminating(raw: Raw) -> bool:
    return bool(raw["metadata"].get("deletionTimestamp"))


def _by_key(objects: Iterable[Raw]) -> Mapping[tuple[str, str], Raw]:
    return {_key(each): each for each in objects}


def _key(raw: Raw) -> tuple[str, str]:
    return raw["kind"], _name(raw)


def _name(raw: Raw) -> str:
    name: str = raw["metadata"]["name"]
    return name
