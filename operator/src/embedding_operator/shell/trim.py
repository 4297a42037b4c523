"""What the store keeps of an object: what plans read, and no more. A function per role, pure.

A change of what is left out alone is no change: such an event causes no reconcile.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from embedding_operator.constants import DRAIN_ANNOTATION, FIELD_MANAGER, INITIALIZER, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.kinds import Kind, Role

__all__ = ["trimmed"]

Json = dict[str, Any]

_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
_CONDITION = ("type", "status", "reason", "message", "lastTransitionTime")
_CHILD_STATUS = (
    "observedGeneration",
    "replicas",
    "updatedReplicas",
    "readyReplicas",
    "availableReplicas",
    "unavailableReplicas",
)


def trimmed(kind: Kind, raw: Mapping[str, Any]) -> Json:
    """A copy with what the operator reads of an object of that kind."""
    kept = _BY_ROLE[kind.role](raw)
    return {"apiVersion": kind.api_version, "kind": kind.name, **kept}


def _resource(raw: Mapping[str, Any]) -> Json:
    """Ours: all but what kubectl and the API server keep there for themselves."""
    metadata = _without(raw["metadata"], "managedFields", "selfLink")
    if _APPLIED in metadata.get("annotations", {}):
        metadata["annotations"] = _without(metadata["annotations"], _APPLIED)
    return {**_without(raw, "metadata", "apiVersion", "kind"), "metadata": metadata}


def _child(raw: Mapping[str, Any]) -> Json:
    """Spec and metadata whole, since a PUT writes both; of managedFields what others set in the spec."""
    metadata = _without(raw["metadata"], "managedFields", "selfLink")
    if others := [each for each in raw["metadata"].get("managedFields") or () if _is_others_spec(each)]:
        metadata["managedFields"] = others
    kept: Json = {"metadata": metadata, **_some(raw, ("spec",))}
    status = raw.get("status") or {}
    of_status = _some(status, _CHILD_STATUS)
    if conditions := _conditions(status):
        of_status["conditions"] = conditions
    return {**kept, "status": of_status} if of_status else kept


def _is_others_spec(entry: Mapping[str, Any]) -> bool:
    return (
        entry.get("manager") != FIELD_MANAGER
        and not entry.get("subresource")
        and "f:spec" in (entry.get("fieldsV1") or {})
    )


def _pod(raw: Mapping[str, Any]) -> Json:
    """A pod's owner, its node and address, and the status of its two containers."""
    metadata, status = raw["metadata"], raw.get("status") or {}
    kept = _some(
        metadata, ("name", "namespace", "uid", "resourceVersion", "labels", "creationTimestamp", "deletionTimestamp")
    )
    kept["ownerReferences"] = [each for each in metadata.get("ownerReferences") or () if each.get("controller")]
    kept["annotations"] = _some(metadata.get("annotations") or {}, (TEMPLATE_ANNOTATION, DRAIN_ANNOTATION))
    of_status: Json = {**_some(status, ("phase", "reason", "message", "podIP")), "conditions": _conditions(status)}
    for name in ("initContainerStatuses", "containerStatuses"):
        of_status[name] = [
            _some(each, ("name", "state", "lastState", "ready", "started", "restartCount"))
            for each in status.get(name) or ()
            if each.get("name") in {INITIALIZER, SERVER}
        ]
    return {"metadata": kept, "spec": _pod_spec(raw.get("spec") or {}), "status": of_status}


def _pod_spec(spec: Mapping[str, Any]) -> Json:
    """Its node, and what it mounts of claims."""
    claims = [each for each in spec.get("volumes") or () if "persistentVolumeClaim" in each]
    if not claims:
        return _some(spec, ("nodeName",))
    names = {each["name"] for each in claims}
    mounts = [
        {"volumeMounts": [mount for mount in each.get("volumeMounts") or () if mount["name"] in names]}
        for each in spec.get("containers") or ()
    ]
    return {**_some(spec, ("nodeName",)), "volumes": claims, "containers": mounts}


def _conditions(status: Mapping[str, Any]) -> list[Json]:
    return [_some(each, _CONDITION) for each in status.get("conditions") or ()]


def _some(values: Mapping[str, Any], names: Iterable[str]) -> Json:
    return {name: values[name] for name in names if name in values}


def _without(values: Mapping[str, Any], *names: str) -> Json:
    return {name: value for name, value in values.items() if name not in names}


_BY_ROLE: Mapping[Role, Callable[[Mapping[str, Any]], Json]] = {
    Role.RESOURCE: _resource,
    Role.CHILD: _child,
    Role.EVIDENCE: _pod,
}
