"""How a live object differs from the desired one, found by reading alone.

Two questions have different answers. Whether our own fields still have our values is seen by comparing values. What
others added to the spec is seen in `metadata.managedFields`: a comparison cannot tell it from a server's default.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from embedding_operator.constants import APPLIED_ANNOTATION, FIELD_MANAGER
from embedding_operator.core.quantity import amount

__all__ = ["adopted", "digest", "foreign_fields", "marked", "needs_apply"]

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
_OMITTED: tuple[object, ...] = ("", [], {})
"""Values that the API server omits."""

_REPLICAS: _Path = ("f:spec", "f:replicas")
_TEMPLATE_METADATA: _Path = ("f:spec", "f:template", "f:metadata")


def digest(value: object) -> str:
    """A short name for a JSON value: equal for equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def marked(desired: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its own digest as an annotation."""
    metadata = desired["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: digest(desired)}
    return {**desired, "metadata": {**metadata, "annotations": annotations}}


def needs_apply(desired: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Whether a server-side apply of `desired` would change our fields: one has another value, or we still own one that
    is no longer desired. Fields that others or the API server's defaults added do not count.
    """
    if live is None or not _matches(desired, live):
        return True
    owned = (path for entry in _entries(live) if _is_our_apply(entry) for path in _paths(entry))
    return any(_is_adoptable(path) and not _has(desired, path) for path in owned)


def foreign_fields(live: Mapping[str, Any]) -> tuple[str, ...]:
    """The fields of the spec that other managers own and we do not, sorted, such as `spec.paused`.

    Some are nobody's concern: `spec.replicas` (an autoscaler's, or compared by value), what is written through a
    subresource, and the metadata of the pod template (`kubectl rollout restart` annotates it). What a mutating webhook
    injects has no manager or the one of the request, and so is not foreign when it was injected into our own write.
    """
    ours: set[_Path] = set()
    theirs: set[_Path] = set()
    for entry in _entries(live):
        (ours if entry.get("manager") == FIELD_MANAGER else theirs).update(filter(_is_adoptable, _paths(entry)))
    found = theirs - ours
    items = {path[:-1] for path in found if path[-1] == "."}
    outermost = (path for path in found if not any(path[:end] in items for end in range(1, len(path))))
    return tuple(sorted({_in_words(path) for path in (*outermost, *items)}))


def adopted(live: Mapping[str, Any]) -> dict[str, Any]:
    """The live object, its spec as it is, with the foreign fields in our own apply's entry of `managedFields`.

    An apply cannot remove what others own. Put in place of the live object, this makes them ours without a change of
    the spec; the apply that follows then removes those it does not set. Removing them by a PUT of the spec instead
    would leave our own fields with an Update entry, which no later apply could remove.
    """
    kept: list[Mapping[str, Any]] = []
    own: dict[str, Any] = {
        "manager": FIELD_MANAGER,
        "operation": "Apply",
        "apiVersion": live["apiVersion"],
        "fieldsType": "FieldsV1",
    }
    fields: set[_Path] = set()
    for entry in live["metadata"].get("managedFields") or ():
        paths = set(_paths(entry))
        if _is_our_apply(entry):
            own = {**entry}
            fields |= paths
            continue
        taken = set() if entry.get("subresource") else {path for path in paths if _is_adoptable(path)}
        fields |= taken
        if not taken:
            kept.append(entry)
        elif rest := paths - taken:
            kept.append({**entry, "fieldsV1": _tree(rest)})
    metadata = {**live["metadata"], "managedFields": [{**own, "fieldsV1": _tree(fields)}, *kept]}
    return {**live, "metadata": metadata}


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
    if name in _QUANTITIES or name == "divisor":
        return _is_same_amount(desired, live)
    return bool(desired == live)


def _key(name: str, item: Mapping[str, Any]) -> tuple[Any, ...]:
    if name == "ports":  # of a container, or of a Service
        return item.get("containerPort", item.get("port")), item.get("protocol", "TCP")
    return tuple(item.get(key) for key in _LIST_KEYS[name])


def _is_same_amount(one: Any, other: Any) -> bool:
    try:
        return bool(one == other) or amount(str(one)) == amount(str(other))
    except ValueError:  # somebody's value that is valid for Kubernetes alone: not ours
        return False


def _entries(live: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """The entries of managedFields but those of subresources."""
    return (each for each in live["metadata"].get("managedFields") or () if not each.get("subresource"))


def _is_our_apply(entry: Mapping[str, Any]) -> bool:
    return (entry.get("manager"), entry.get("operation")) == (FIELD_MANAGER, "Apply") and not entry.get("subresource")


def _is_adoptable(path: _Path) -> bool:
    return path[0] == "f:spec" and path != _REPLICAS and path[: len(_TEMPLATE_METADATA)] != _TEMPLATE_METADATA


def _paths(entry: Mapping[str, Any]) -> Iterator[_Path]:
    """The leaves of an entry; `.` is the last part of one that stands for a map or an item itself."""

    def walk(fields: Mapping[str, Any], path: _Path) -> Iterator[_Path]:
        for key, below in fields.items():
            if below:
                yield from walk(below, (*path, key))
            else:
                yield (*path, key)

    return walk(entry.get("fieldsV1") or {}, ())


def _tree(paths: Iterable[_Path]) -> dict[str, Any]:
    """The fields of an entry, from its leaves."""
    root: dict[str, Any] = {}
    for path in sorted(paths):
        node = root
        for key in path:
            node = node.setdefault(key, {})
    return root


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
