"""Field managers: who owns which field after an apply or an update, and what an apply may change.

The rules are those of structured-merge-diff: an apply owns what it names and gives up, and so removes, what it named
before; an update owns what it changes.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from support.fake_api.errors import ApiError
from support.fake_api.fields import Path, Shape, decode, encode, readable, with_ancestors

__all__ = ["Writer", "applied", "updated"]

Json = dict[str, Any]

_NOBODYS = {"name", "namespace", "creationTimestamp", "uid", "generation", "managedFields", "resourceVersion"}


@dataclass(frozen=True)
class Writer:
    """One entry of managedFields."""

    manager: str
    operation: str = "Update"
    subresource: str = ""

    def owns(self, path: Path) -> bool:
        """False for what no manager owns, and for what this endpoint does not write."""
        if path[0] in {"f:apiVersion", "f:kind"} or path == ("f:metadata",):
            return False
        if path[0] == "f:metadata" and path[1][2:] in _NOBODYS:
            return False
        return (path[0] == "f:status") == (self.subresource == "status")


Owned = Mapping[Writer, frozenset[Path]]


def applied(shape: Shape, live: Json | None, config: Json, writer: Writer, now: str, *, force: bool) -> Json:
    """The live object with the configuration merged in. Raises ApiError when others own what it would change."""
    old = live or {}
    owned = _owned(old)
    last = owned.get(writer, frozenset())
    fields = frozenset(path for path in shape.fields(config) if writer.owns(path))
    merged = copy.deepcopy(shape.merge(old, config))
    everyones = {**owned, writer: fields}
    kept = with_ancestors(path for paths in everyones.values() for path in paths) | {("f:metadata",)}
    for path in sorted(with_ancestors(last) - kept):
        shape.remove(merged, path)
    changes = shape.changes(_bare(old), _bare(merged))
    touched = changes.added | changes.modified
    conflicts = {each: paths & touched for each, paths in owned.items() if each != writer and paths & touched}
    if conflicts and not force:
        raise _conflict(conflicts, config["apiVersion"])
    left = {
        each: paths if each == writer else paths - conflicts.get(each, frozenset()) - changes.removed
        for each, paths in everyones.items()
    }
    return _with_managers(merged, old, left, now)


def updated(shape: Shape, live: Json | None, new: Json, writer: Writer, now: str) -> Json:
    """The new object with its managers: the writer owns what it changed, others no longer do.

    The managers that the new object names take the place of the live one's; one empty entry drops them all. An object
    without managers is not tracked, until somebody applies.
    """
    given = new["metadata"].get("managedFields")
    old = new if given and not writer.subresource else live or {}
    owned = {} if given == [{}] else _owned(old)
    if live is not None and not owned:
        return {**new, "metadata": {name: each for name, each in new["metadata"].items() if name != "managedFields"}}
    changes = shape.changes(_bare(live or {}), _bare(new))
    touched = frozenset(path for path in changes.added | changes.modified if writer.owns(path))
    left = {each: paths - touched - changes.removed for each, paths in owned.items()}
    left[writer] = left.get(writer, frozenset()) | touched
    return _with_managers(new, old, left, now)


def _owned(obj: Json) -> Owned:
    return {
        _writer(entry): frozenset(decode(entry["fieldsV1"]))
        for entry in obj.get("metadata", {}).get("managedFields", ())
    }


def _writer(entry: Json) -> Writer:
    return Writer(entry["manager"], entry["operation"], entry.get("subresource", ""))


def _with_managers(obj: Json, old: Json, owned: Owned, now: str) -> Json:
    before = {_writer(entry): entry for entry in old.get("metadata", {}).get("managedFields", ())}
    entries = []
    for writer, paths in owned.items():
        fields = encode(paths)
        if not fields:
            continue
        if writer in before and before[writer]["fieldsV1"] == fields:
            entries.append(before[writer])
            continue
        entry = {
            "manager": writer.manager,
            "operation": writer.operation,
            "apiVersion": obj["apiVersion"],
            "time": now,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        entries.append(entry | ({"subresource": writer.subresource} if writer.subresource else {}))
    return {**obj, "metadata": {**obj["metadata"], "managedFields": entries}}


def _bare(obj: Json) -> Json:
    meta = {name: value for name, value in obj.get("metadata", {}).items() if name not in _NOBODYS}
    return {**obj, "metadata": meta}


def _conflict(conflicts: Owned, api_version: str) -> ApiError:
    causes, words = [], []
    for writer, paths in conflicts.items():
        who = f'"{writer.manager}"'
        if writer.operation == "Update":
            who += (f' with subresource "{writer.subresource}"' if writer.subresource else "") + f" using {api_version}"
        for path in sorted(paths):
            cause = {"reason": "FieldManagerConflict", "message": f"conflict with {who}", "field": readable(path)}
            causes.append(cause)
        words.append("\n- ".join((f"conflicts with {who}:", *(readable(path) for path in sorted(paths)))))
    if len(causes) == 1:
        message = f"Apply failed with 1 conflict: {causes[0]['message']}: {causes[0]['field']}"
    else:
        message = f"Apply failed with {len(causes)} conflicts: {chr(10).join(words)}"
    return ApiError(409, "Conflict", message, causes=causes)
