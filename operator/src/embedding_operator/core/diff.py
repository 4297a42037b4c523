"""How a live object differs from the desired one, and the object that puts it right.

Two questions have different answers. Whether our fields have our values is seen by comparing values. What others added
to the spec is seen in `metadata.managedFields`: no comparison can tell it from a default of the API server, or from
what a mutating webhook injected into our own write, which the API server attributes to us.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from embedding_operator.constants import APPLIED_ANNOTATION, FIELD_MANAGER, GROUP
from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount

__all__ = ["first_difference", "foreign_fields", "needs_write", "owners", "replacement"]

_Path = tuple[str, ...]
"""A field as managedFields write it: ("f:spec", "f:ports", 'k:{"port":80,"protocol":"TCP"}')."""

_LIST_KEYS: Mapping[str, tuple[str, ...]] = {
    "containers": ("name",),
    "env": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
"""The keys of the lists that are maps (x-kubernetes-list-map-keys). Every other list is atomic."""
_ATOMIC_MAPS = {"matchLabels", "nodeSelector", "selector"}
_QUANTITIES = {"limits", "requests"}
"""Maps of quantities, which the API server rewrites: 1000m comes back as 1."""
_OMITTED: tuple[object, ...] = ("", [], {}, False)
"""Values that the API server omits."""

_REPLICAS: _Path = ("f:spec", "f:replicas")
_TEMPLATE_METADATA: _Path = ("f:spec", "f:template", "f:metadata")


def needs_write(desired: Raw, live: Raw) -> bool:
    """Whether the live object is not what is desired: a field of ours has another value; a field was desired before
    and is not now (the digest in the annotations differs); a field was added to the spec; or a resource of ours is its
    owner that is not to be.
    """
    has_former_owner = len(owners(desired, live)) < len(live["metadata"].get("ownerReferences") or ())
    return not _matches(desired, live) or bool(foreign_fields(desired, live)) or has_former_owner


def foreign_fields(desired: Raw, live: Raw) -> tuple[str, ...]:
    """The fields of the live spec that other managers own and that are not desired, sorted, such as `spec.paused`.

    Some are left to others: `spec.replicas` where it is not desired (an autoscaler's), what is written through a
    subresource, and the metadata of the pod template (`kubectl rollout restart` annotates it).
    """
    theirs = {
        path
        for entry in live["metadata"].get("managedFields") or ()
        if entry.get("manager") != FIELD_MANAGER and not entry.get("subresource")
        for path in _paths(entry)
        if _is_ours_to_decide(path) and not _has(desired, path)
    }
    items = {path[:-1] for path in theirs if path[-1] == "."}
    outermost = (path for path in theirs if not any(path[:end] in items for end in range(1, len(path))))
    return tuple(sorted({_in_words(path) for path in (*outermost, *items)}))


def first_difference(desired: Any, live: Any, path: str = "") -> str | None:
    """The first field of `desired` that the live object has with another value, such as `spec.replicas`."""
    name = path.rpartition(".")[2].partition("[")[0]
    if _matches(desired, live, name):
        return None
    if isinstance(desired, Mapping) and isinstance(live, Mapping) and name not in _ATOMIC_MAPS | _QUANTITIES:
        parts = [(each, desired[each], live.get(each), f"{path}.{each}") for each in desired]
    elif isinstance(desired, list) and isinstance(live, list) and (name in _LIST_KEYS or name == "ports"):
        there = {_key(name, item): item for item in live}
        parts = [
            (_key(name, each), each, there.get(_key(name, each)), f"{path}[{_key(name, each)[0]}]") for each in desired
        ]
    else:
        parts = []
    return next((found for _, one, other, where in parts if (found := first_difference(one, other, where))), path[1:])


def replacement(desired: Raw, live: Raw) -> dict[str, Any]:
    """The object to PUT over the live one: the desired spec, with metadata of both and the live resourceVersion.

    Replicas that are not desired, and the annotations of others on the pod template, stay. Foreign fields go, and their
    owners with them: an owner of a field whose value did not change would stay its owner.
    """
    meta, wanted = live["metadata"], desired["metadata"]
    metadata = {
        **{key: meta[key] for key in ("uid", "resourceVersion", "finalizers") if key in meta},
        **wanted,
        "labels": {**(meta.get("labels") or {}), **wanted.get("labels", {})},
        "annotations": {**(meta.get("annotations") or {}), **wanted.get("annotations", {})},
        "ownerReferences": owners(desired, live),
    }
    if foreign_fields(desired, live):
        metadata["managedFields"] = [_our_entry(desired["apiVersion"])]
    spec = dict(desired["spec"])
    if "replicas" not in spec and "replicas" in live["spec"]:
        spec["replicas"] = live["spec"]["replicas"]
    if "template" in spec:
        spec["template"] = _with_annotations_of_others(spec["template"], live["spec"].get("template") or {})
    return {**desired, "metadata": metadata, "spec": spec}


def owners(desired: Raw, live: Raw) -> list[Raw]:
    """Owner references: those that are desired, and those to others than our resources."""
    wanted = {each["uid"]: each for each in desired["metadata"].get("ownerReferences", ())}
    present = {each["uid"]: each for each in live["metadata"].get("ownerReferences") or ()}
    stay = {uid: each for uid, each in present.items() if uid in wanted or not _is_ours(each)}
    return list({**stay, **wanted}.values())


def _is_ours(owner: Raw) -> bool:
    return str(owner.get("apiVersion")).partition("/")[0] == GROUP


def _our_entry(api_version: str) -> dict[str, Any]:
    """The only entry of managedFields: the API server adds the fields that the PUT changes. Without any entry, it would
    not track who changes the object from then on.
    """
    fields: dict[str, Any] = {"f:metadata": {"f:annotations": {f"f:{APPLIED_ANNOTATION}": {}}}}
    return {
        "manager": FIELD_MANAGER,
        "operation": "Update",
        "apiVersion": api_version,
        "fieldsType": "FieldsV1",
        "fieldsV1": fields,
    }


def _with_annotations_of_others(template: Raw, live: Raw) -> dict[str, Any]:
    there = (live.get("metadata") or {}).get("annotations") or {}
    kept = {key: value for key, value in there.items() if not key.startswith(f"{GROUP}/")}
    metadata = template["metadata"]
    return {**template, "metadata": {**metadata, "annotations": {**kept, **metadata.get("annotations", {})}}}


def _matches(desired: Any, live: Any, name: str = "") -> bool:
    """Whether all of `desired` is in `live`, which may have more. `name` is that of the field."""
    if isinstance(desired, Mapping) and name not in _ATOMIC_MAPS:
        return isinstance(live, Mapping) and all(
            _matches(value, live[key], name if name in _QUANTITIES else key) if key in live else value in _OMITTED
            for key, value in desired.items()
        )
    if isinstance(desired, list) and (name in _LIST_KEYS or name == "ports"):
        items = {_key(name, item): item for item in live} if isinstance(live, list) else {}
        return all(_key(name, item) in items and _matches(item, items[_key(name, item)]) for item in desired)
    if isinstance(desired, list):  # atomic: as many items, in that order; each may have defaults
        has_all = isinstance(live, list) and len(live) == len(desired)
        return has_all and all(map(_matches, desired, live))
    if name in _QUANTITIES or name == "divisor":
        return _is_same_amount(desired, live)
    return bool(desired == live)


def _key(name: str, item: Raw) -> tuple[Any, ...]:
    if name == "ports":  # of a container, or of a Service
        return item.get("containerPort", item.get("port")), item.get("protocol", "TCP")
    return tuple(item.get(key) for key in _LIST_KEYS[name])


def _is_same_amount(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) or amount(str(one)) == amount(str(other))
    except ValueError:  # a value that somebody else wrote, which Kubernetes reads and `amount` does not
        return False


def _is_ours_to_decide(path: _Path) -> bool:
    return path[0] == "f:spec" and path != _REPLICAS and path[: len(_TEMPLATE_METADATA)] != _TEMPLATE_METADATA


def _paths(entry: Raw) -> Iterator[_Path]:
    """The leaves of an entry; `.` is the last part of one that stands for a map or an item itself."""

    def walk(fields: Raw, path: _Path) -> Iterator[_Path]:
        for key, below in fields.items():
            if below:
                yield from walk(below, (*path, key))
            else:
                yield (*path, key)

    return walk(entry.get("fieldsV1") or {}, ())


def _has(value: Any, path: _Path) -> bool:
    """Whether the object has the field."""
    if not path or path[0] == ".":
        return True
    kind, _, key = path[0].partition(":")
    if kind == "f":
        return isinstance(value, Mapping) and key in value and _has(value[key], path[1:])
    if kind == "k" and isinstance(value, Sequence):
        wanted = json.loads(key).items()
        return any(all(item.get(name) == part for name, part in wanted) and _has(item, path[1:]) for item in value)
    return True  # a set's value or an index: no spec of ours has one


def _in_words(path: _Path) -> str:
    text = ""
    for part in path:
        kind, _, key = part.partition(":")
        if kind == "k":
            text += "[" + ",".join(f"{name}={value}" for name, value in json.loads(key).items()) + "]"
        elif kind == "f":
            text += f".{key}"
    return text.removeprefix(".")
