"""The objects of the fake API server and every write to them, with the history that watches follow.

Stored objects are never changed in place: each write stores a new one. Methods return copies.
"""

import copy
import secrets
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from support.fake_api.builtin import built_in_problems, complete, problems_of_metadata
from support.fake_api.errors import ApiError, conflict, invalid, not_found
from support.fake_api.fields import Shape, readable
from support.fake_api.kinds import Kind
from support.fake_api.managed import Writer, applied, updated
from support.fake_api.openapi import problems, prune_and_default, unknown_fields

__all__ = ["Change", "Store"]

Json = dict[str, Any]
Key = tuple[str, str, str]
"""Plural with group, namespace (empty for cluster-scoped kinds), name."""

_FIRST_VERSION = 1000  # a real one is never new either: version 1 is too old to watch from
_SERVERS_OWN = ("creationTimestamp", "deletionGracePeriodSeconds", "deletionTimestamp", "generation", "uid")


@dataclass(frozen=True)
class Change:
    """One step of the history."""

    version: int
    key: Key
    before: Json | None
    after: Json | None


class Store:
    """`now` is the wall clock; `admit` is the chain of admission webhooks."""

    def __init__(
        self,
        kinds: Iterable[Kind],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        admit: Callable[[Json], Json] = lambda obj: obj,
    ) -> None:
        self.kinds = {(each.api_version, each.plural): each for each in kinds}
        self.version = _FIRST_VERSION
        self.oldest = _FIRST_VERSION
        """Watches cannot start before this version."""
        self.history: list[Change] = []
        self.on_change: Callable[[Change], None] = lambda _: None
        self._objects: dict[Key, Json] = {}
        self._now = now
        self._admit = admit

    def kind_of(self, obj: Mapping[str, Any]) -> Kind:
        """Raises KeyError."""
        wanted = (obj["apiVersion"], obj["kind"])
        return next(each for each in self.kinds.values() if (each.api_version, each.kind) == wanted)

    def all(self, kind: Kind, namespace: str | None = None) -> Iterator[Json]:
        """In the order of their keys."""
        for key, obj in sorted(self._objects.items(), key=lambda item: item[0]):
            if key[0] == kind.resource and namespace in (None, key[1]):
                yield obj

    def has(self, kind: Kind, namespace: str | None, name: str) -> bool:
        return (kind.resource, namespace or "", name) in self._objects

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        """Raises ApiError (404)."""
        if (obj := self._objects.get((kind.resource, namespace or "", name))) is None:
            raise not_found(kind.resource, name)
        return copy.deepcopy(obj)

    def create(self, kind: Kind, obj: Json, manager: str = "unknown") -> Json:
        obj = copy.deepcopy(obj)
        meta = obj["metadata"] = {k: v for k, v in obj["metadata"].items() if k not in _SERVERS_OWN}
        if not meta.get("name"):
            meta["name"] = meta["generateName"] + secrets.token_hex(3)[:5]
        self._check_namespace(kind, obj)
        if self._key(kind, obj) in self._objects:
            raise ApiError(409, "AlreadyExists", f'{kind.resource} "{meta["name"]}" already exists')
        if meta.pop("resourceVersion", ""):
            raise ApiError(500, "", "resourceVersion should not be set on objects to be created")
        return self._write(kind, None, obj, Writer(manager))

    def replace(self, kind: Kind, obj: Json, manager: str = "unknown", subresource: str = "") -> Json:
        obj = copy.deepcopy(obj)
        live = self.get(kind, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        if kind.needs_version and not subresource and not obj["metadata"].get("resourceVersion"):
            problem = "metadata.resourceVersion: Invalid value: 0: must be specified for an update"
            raise invalid(kind.qualified, obj["metadata"]["name"], [problem])
        if (wanted := obj["metadata"].get("uid") or live["metadata"]["uid"]) != live["metadata"]["uid"]:
            uids = f"UID in precondition: {wanted}, UID in object meta: {live['metadata']['uid']}"
            raise conflict(kind.resource, obj["metadata"]["name"], f"Precondition failed: {uids}")
        self._check_version(kind, live, obj)
        return self._write(kind, live, obj, Writer(manager, "Update", subresource))

    def apply(self, kind: Kind, config: Json, manager: str, *, force: bool = False, subresource: str = "") -> Json:
        """Server-side apply."""
        config = copy.deepcopy(config)
        meta = config["metadata"]
        if "managedFields" in meta:
            raise ApiError(400, "BadRequest", "metadata.managedFields must be nil")
        self._check_typed(kind, config)
        live = self._objects.get(self._key(kind, config))
        if live is None:
            if meta.get("uid"):
                words = (
                    f"uid mismatch: the provided object specified uid {meta['uid']}, and no existing object was found"
                )
                raise ApiError(409, "Conflict", words)
            if subresource:
                raise not_found(kind.resource, meta["name"])
            self._check_namespace(kind, config)
        else:
            self._check_version(kind, live, config)
            if meta.get("uid", live["metadata"]["uid"]) != live["metadata"]["uid"]:
                problem = f'metadata.uid: Invalid value: "{meta["uid"]}": field is immutable'
                raise invalid(kind.qualified, meta["name"], [problem])
        return self._write(kind, live, config, Writer(manager, "Apply", subresource), force=force)

    def delete(
        self,
        kind: Kind,
        namespace: str | None,
        name: str,
        *,
        preconditions: Mapping[str, str] | None = None,
        policy: str = "Background",
    ) -> Json:
        """The object as it was, or as it is while finalizers hold it."""
        live = self.get(kind, namespace, name)
        for field, word in (("uid", "UID"), ("resourceVersion", "ResourceVersion")):
            recorded = live["metadata"][field]
            if (wanted := (preconditions or {}).get(field) or recorded) != recorded:
                why = f"the {word} in the precondition ({wanted}) does not match the {word} in record ({recorded})."
                raise conflict(kind.qualified, name, why)
        if policy == "Orphan":
            self._orphan(live)
        meta = live["metadata"]
        held = meta.get("finalizers") or (kind.kind == "Namespace" and self._content(name))
        if held and "deletionTimestamp" not in meta:
            phase = {"status": {"phase": "Terminating"}} if kind.kind == "Namespace" else {}
            live = {**live, "metadata": {**meta, "deletionTimestamp": self._stamp()}, **phase}
            return copy.deepcopy(self._put(kind, live))
        if not held:
            self._remove(kind, live)
        return live

    def collect_garbage(self) -> None:
        """Remove what belongs to owners that are gone, and what was in namespaces that are going."""
        uids = {each["metadata"]["uid"] for each in self._objects.values()}
        for kind, obj in self._everything():
            namespace = self._objects.get(("namespaces", "", obj["metadata"].get("namespace", "")), {})
            owners = [each["uid"] for each in obj["metadata"].get("ownerReferences", ())]
            going = namespace.get("metadata", {}).get("deletionTimestamp")
            if going or (owners and not uids.intersection(owners)):
                self.delete(kind, obj["metadata"].get("namespace"), obj["metadata"]["name"])
        for kind, obj in self._everything():
            if kind.kind == "Namespace" and obj["metadata"].get("deletionTimestamp"):
                self.delete(kind, None, obj["metadata"]["name"])

    def compact(self) -> None:
        """Forget the history, as etcd does after five minutes."""
        self.history.clear()
        self.oldest = self.version

    def _write(self, kind: Kind, live: Json | None, sent: Json, writer: Writer, *, force: bool = False) -> Json:
        obj = sent
        if writer.operation == "Apply":
            obj = applied(Shape(kind), live, sent, writer, self._stamp(), force=force)
        obj = self._complete(kind, obj, live, writer.subresource)
        if writer.operation == "Update":
            obj = updated(Shape(kind), live, obj, writer, self._stamp())
        if not writer.subresource:
            obj = self._complete(kind, self._admit(copy.deepcopy(obj)), live)
        found = list(problems_of_metadata(obj["metadata"]))
        found += problems(obj, kind.schema) if kind.schema else built_in_problems(obj, live)
        if found:
            raise invalid(kind.qualified, obj["metadata"]["name"], found)
        if live is not None and not _differs(obj, live):
            return copy.deepcopy(live)
        return copy.deepcopy(self._put(kind, obj))

    def _complete(self, kind: Kind, obj: Json, live: Json | None, subresource: str = "") -> Json:
        """As it would be stored: pruned, with defaults, and with what this endpoint does not write as it was."""
        meta = dict(obj["metadata"])
        if live is None:
            meta |= {"uid": str(uuid.uuid4()), "creationTimestamp": self._stamp()} if "uid" not in meta else {}
            meta |= {"generation": 1} if kind.has_generation else {}
        else:
            own = {name: live["metadata"][name] for name in _SERVERS_OWN if name in live["metadata"]}
            meta = {name: value for name, value in meta.items() if name not in _SERVERS_OWN} | own
            meta["resourceVersion"] = live["metadata"]["resourceVersion"]
        obj = {**obj, "metadata": {name: value for name, value in meta.items() if value not in (None, {}, [])}}
        if subresource and live is not None:
            kept = live["metadata"] | {name: meta[name] for name in ("managedFields",) if name in meta}
            obj = {**live, "metadata": kept, "status": obj.get("status", {})}
        elif kind.has_status:
            obj = {name: value for name, value in obj.items() if name != "status"}
            obj |= {"status": live["status"]} if live and "status" in live else {}
        obj = copy.deepcopy(obj)
        return prune_and_default(obj, kind.schema) if kind.schema else complete(obj, live)

    def _put(self, kind: Kind, obj: Json) -> Json:
        key = self._key(kind, obj)
        live = self._objects.get(key)
        meta = dict(obj["metadata"])
        if live is not None and kind.has_generation and _spec(kind, obj) != _spec(kind, live):
            meta["generation"] = live["metadata"]["generation"] + 1
        obj = {**obj, "metadata": meta}
        if meta.get("deletionTimestamp") and not meta.get("finalizers") and kind.kind != "Namespace":
            self._remove(kind, obj)
            return obj
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self._objects[key] = obj
        self._record(Change(self.version, key, live, obj))
        return obj

    def _remove(self, kind: Kind, obj: Json) -> None:
        self.version += 1
        key = self._key(kind, obj)
        self._record(Change(self.version, key, self._objects.pop(key), None))

    def _record(self, change: Change) -> None:
        self.history.append(change)
        self.on_change(change)

    def _check_namespace(self, kind: Kind, obj: Json) -> None:
        if not kind.namespaced:
            return
        name = obj["metadata"]["namespace"]
        if (namespace := self._objects.get(("namespaces", "", name))) is None:
            raise not_found("namespaces", name)
        if namespace["metadata"].get("deletionTimestamp"):
            words = f"unable to create new content in namespace {name} because it is being terminated"
            raise ApiError(403, "Forbidden", f'{kind.resource} "{obj["metadata"]["name"]}" is forbidden: {words}')

    def _check_typed(self, kind: Kind, config: Json) -> None:
        wrong = None
        if kind.schema and (unknown := next(unknown_fields(config, kind.schema), None)):
            wrong = f"{unknown}: field not declared in schema"
        elif path := Shape(kind).duplicate(config):
            wrong = f"{readable(path[:-1])}: duplicate entries for key {readable(path[-1:])}"
        if wrong:
            which = f"{config['metadata'].get('namespace', '')}/{config['metadata']['name']}"
            words = f"failed to create typed patch object ({which}; {kind.api_version}, Kind={kind.kind}): {wrong}"
            raise ApiError(500, "", words)

    def _check_version(self, kind: Kind, live: Json, sent: Json) -> None:
        meta, wanted = live["metadata"], sent["metadata"]
        if wanted.get("resourceVersion") not in (None, "", meta["resourceVersion"]):
            why = "the object has been modified; please apply your changes to the latest version and try again"
            raise conflict(kind.resource, meta["name"], why)

    def _orphan(self, owner: Json) -> None:
        for kind, obj in self._everything():
            meta = dict(obj["metadata"])
            owners = meta.pop("ownerReferences", [])
            if left := [each for each in owners if each["uid"] != owner["metadata"]["uid"]]:
                meta["ownerReferences"] = left
            if left != owners:
                self._put(kind, {**obj, "metadata": meta})

    def _everything(self) -> list[tuple[Kind, Json]]:
        """Each object once, whatever versions its kind is served at."""
        kinds = {each.resource: each for each in self.kinds.values()}
        return [(kinds[key[0]], obj) for key, obj in self._objects.items() if key[0] in kinds]

    def _content(self, namespace: str) -> bool:
        return any(key[1] == namespace for key in self._objects)

    def _key(self, kind: Kind, obj: Json) -> Key:
        meta = obj["metadata"]
        return kind.resource, meta.get("namespace", "") if kind.namespaced else "", meta["name"]

    def _stamp(self) -> str:
        return self._now().strftime("%Y-%m-%dT%H:%M:%SZ")


def _spec(kind: Kind, obj: Json) -> Json:
    """What the generation counts the changes of. A Deployment's controller obeys annotations too."""
    if kind.schema:
        return {name: value for name, value in obj.items() if name not in {"metadata", "status"}}
    counted = {"spec": obj.get("spec")}
    return counted | ({"annotations": obj["metadata"].get("annotations")} if kind.kind == "Deployment" else {})


def _differs(obj: Json, live: Json) -> bool:
    """Times of managers aside."""

    def bare(each: Json) -> Json:
        managers = [{**entry, "time": ""} for entry in each["metadata"].get("managedFields", ())]
        return {**each, "metadata": {**each["metadata"], "managedFields": managers}}

    return bare(obj) != bare(live)
