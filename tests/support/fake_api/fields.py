"""Sets of fields, as server-side apply keeps them: which fields an object has, which changed, and how objects merge.

A path is a tuple of FieldsV1 elements: `f:NAME` of a map, `k:{KEYS}` of a list that is a map by keys, `v:VALUE` of a
set. What is atomic is one field, whatever it holds.
"""

import json
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from support.fake_api.kinds import Kind

__all__ = ["Changes", "Path", "Shape", "decode", "encode", "readable", "with_ancestors"]

Json = dict[str, Any]
Path = tuple[str, ...]
Names = tuple[str, ...]

# Of built-in kinds, and of the metadata of all. Every other list is atomic; () is a set.
_LIST_KEYS: dict[str, Names] = {
    "conditions": ("type",),
    "containers": ("name",),
    "env": ("name",),
    "finalizers": (),
    "imagePullSecrets": ("name",),
    "initContainers": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
    "volumeMounts": ("mountPath",),
    "volumes": ("name",),
}
_KEY_DEFAULTS = {"protocol": "TCP"}
_ATOMIC_MAPS = {
    "configMapKeyRef", "fieldRef", "imagePullSecrets", "involvedObject", "labelSelector", "namespaceSelector",
    "nodeSelector", "ownerReferences", "resourceFieldRef", "secretKeyRef", "selector",
}  # fmt: skip


@dataclass(frozen=True)
class Changes:
    """What a new object has, has not and has otherwise than the old one."""

    added: frozenset[Path]
    removed: frozenset[Path]
    modified: frozenset[Path]


@dataclass(frozen=True)
class Shape:
    """Which lists of a kind are maps, and which maps are atomic."""

    kind: Kind

    def fields(self, obj: Json) -> frozenset[Path]:
        """The leaves of what was applied, and the list items that hold them."""
        return frozenset(path for path, leaf, _ in self._nodes(obj, (), ()) if leaf or not path[-1].startswith("f:"))

    def duplicate(self, obj: Json) -> Path | None:
        """The second list item of the same keys."""
        seen = set()
        for path, _, _ in self._nodes(obj, (), ()):
            if path in seen:
                return path
            seen.add(path)
        return None

    def changes(self, old: Json, new: Json) -> Changes:
        """Of all fields, those too that only hold others."""
        before = {path: value for path, _, value in self._nodes(old, (), ())}
        after = {path: value for path, _, value in self._nodes(new, (), ())}
        return Changes(
            frozenset(after.keys() - before.keys()),
            frozenset(before.keys() - after.keys()),
            frozenset(path for path in after.keys() & before.keys() if after[path] != before[path]),
        )

    def merge(self, old: Any, new: Any, names: Names = ()) -> Any:
        """`new` over `old`."""
        if isinstance(old, dict) and isinstance(new, dict) and not self._is_atomic(names):
            return {**old, **{k: self.merge(old[k], v, (*names, k)) if k in old else v for k, v in new.items()}}
        if not isinstance(old, list) or not isinstance(new, list) or (keys := self._keys(names)) is None:
            return new
        before = {_element(item, keys): item for item in old}
        after = {_element(item, keys): item for item in new}
        return [
            self.merge(before[each], after[each], names)
            if each in before and each in after
            else (after if each in after else before)[each]
            for each in _in_order(list(before), list(after))
        ]

    def remove(self, obj: Any, path: Path, names: Names = ()) -> None:
        """Take the field out of `obj`, if it is there."""
        if isinstance(obj, list):
            for item in obj:
                if _element(item, self._keys(names) or ()) == path[0]:
                    if len(path) == 1:
                        obj.remove(item)
                    else:
                        self.remove(item, path[1:], names)
                    return
        elif isinstance(obj, dict) and (name := path[0][2:]) in obj:
            if len(path) == 1:
                del obj[name]
            else:
                self.remove(obj[name], path[1:], (*names, name))

    def _nodes(self, value: Any, path: Path, names: Names) -> Iterator[tuple[Path, bool, Any]]:
        """Every field with its value if it is a leaf."""
        if isinstance(value, dict) and value and not self._is_atomic(names):
            if path:
                yield path, False, None
            for name, item in value.items():
                yield from self._nodes(item, (*path, f"f:{name}"), (*names, name))
        elif isinstance(value, list) and value and (keys := self._keys(names)) is not None:
            yield path, False, None
            for item in value:
                yield from self._nodes(item, (*path, _element(item, keys)), names)
        elif path:
            yield path, True, value

    def _keys(self, names: Names) -> Names | None:
        if self.kind.schema is None or names[0] == "metadata":
            if names[-1] == "ports":
                return ("containerPort" if "template" in names or self.kind.kind == "Pod" else "port", "protocol")
            return _LIST_KEYS.get(names[-1])
        match (node := self._schema(names)).get("x-kubernetes-list-type"):
            case "map":
                return tuple(node["x-kubernetes-list-map-keys"])
            case "set":
                return ()
        return None

    def _is_atomic(self, names: Names) -> bool:
        if not names:
            return False
        if self.kind.schema is None or names[0] == "metadata":
            return names[-1] in _ATOMIC_MAPS
        return self._schema(names).get("x-kubernetes-map-type") == "atomic"

    def _schema(self, names: Names) -> Json:
        node: Json = self.kind.schema or {}
        for name in names:
            node = node.get("items", node)
            node = node.get("properties", {}).get(name) or node.get("additionalProperties") or {}
        return node


def encode(paths: Iterable[Path]) -> Json:
    """As FieldsV1."""
    root: Json = {}
    for path in (ordered := sorted(paths)):
        node = root
        for element in path:
            node = node.setdefault(element, {})
    for path in ordered:
        node = root
        for element in path:
            node = node[element]
        if node:
            node["."] = {}
    return root


def decode(fields: Json, path: Path = ()) -> Iterator[Path]:
    """The paths of FieldsV1."""
    if path and (not fields or "." in fields):
        yield path
    for element, inner in fields.items():
        if element != ".":
            yield from decode(inner, (*path, element))


def with_ancestors(paths: Iterable[Path]) -> frozenset[Path]:
    return frozenset(path[:end] for path in paths for end in range(1, len(path) + 1))


def readable(path: Path) -> str:
    """`.spec.containers[name="main"].image`."""
    return "".join(_readable(element) for element in path)


def _readable(element: str) -> str:
    if element.startswith("f:"):
        return f".{element[2:]}"
    if element.startswith("v:"):
        return f"[={element[2:]}]"
    return f"[{','.join(f'{name}={json.dumps(value)}' for name, value in json.loads(element[2:]).items())}]"


def _in_order(old: Sequence[str], new: Sequence[str]) -> list[str]:
    """The applied items in their order; the others stay behind what they were behind."""
    rest = deque(old)
    shared = deque(element for element in new if element in old)
    ordered = []
    for element in new:
        while rest and rest[0] != element:
            if rest[0] not in new:
                ordered.append(rest.popleft())
            elif not shared or rest[0] != shared[0]:
                rest.popleft()
            else:
                break
        ordered.append(element)
        if shared and shared[0] == element:
            shared.popleft()
        if rest and rest[0] == element:
            rest.popleft()
    return ordered + [element for element in rest if element not in new]


def _element(item: Any, keys: Names) -> str:
    if not keys:
        return f"v:{json.dumps(item)}"
    named = {key: item[key] if key in item else _KEY_DEFAULTS.get(key) for key in sorted(keys)}
    return f"k:{json.dumps(named, separators=(',', ':'))}"
