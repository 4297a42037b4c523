"""The cache that the watches fill: trimmed, compressed objects with small indexes.

Memory is the point: a parsed Deployment takes fifty times the bytes that are kept of it. Objects are parsed when they
are read.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum

from embedding_operator.kinds import (
    DEPLOYMENT,
    EMBEDDING_SERVICE,
    KINDS,
    MODEL_CACHE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    Kind,
    Role,
)
from embedding_operator.shell.entries import Entry, Json, Key, Packer, ServiceEntry, is_newer, key_of
from embedding_operator.shell.trim import trimmed

__all__ = ["Change", "ChangeType", "Store"]


class ChangeType(StrEnum):
    """What has become of an object."""

    ADDED = "Added"
    MODIFIED = "Modified"
    DELETED = "Deleted"


@dataclass(frozen=True)
class Change:
    """Something that plans read has changed. `service`: the name of that which the object is labelled for; `cache`: the
    kind and the key of that one.

    `writes`: the claim of the cache that a Job, or its pod, downloads into. `claims`: those that the spec of a resource
    names now and did not before, or the other way round. `is_users`: an EmbeddingService was created, or its spec
    changed.
    """

    type: ChangeType
    kind: Kind
    namespace: str | None
    name: str
    service: str | None = None
    cache: tuple[Kind, Key] | None = None
    writes: str | None = None
    claims: frozenset[str] = frozenset()
    is_users: bool = False


class Store:
    """For one event loop. `on_change` is called for what plans read; `synced` is set when all kinds were listed."""

    def __init__(self, on_change: Callable[[Change], None] = lambda _: None) -> None:
        self.on_change = on_change
        self._objects: dict[str, dict[Key, Entry]] = {kind.plural: {} for kind in KINDS}
        self._packers = {kind.plural: Packer() for kind in KINDS}
        self._versions: Counter[str] = Counter()
        self._children: dict[str, set[tuple[Kind, Key]]] = defaultdict(set)
        """By the UID of their controller."""
        self._labelled: dict[tuple[Kind, Key], set[tuple[Kind, Key]]] = defaultdict(set)
        """What is owned, and pods, by the resource that their label names."""

    def get(self, kind: Kind, namespace: str | None, name: str) -> Json | None:
        """The object as last seen, the caller's own copy."""
        entry = self._objects[kind.plural].get((namespace, name))
        return entry.parsed(self._packers[kind.plural]) if entry else None

    def children(self, uid: str) -> list[Json]:
        """What the object with that UID controls."""
        return self._parsed(self._children.get(uid, ()))

    def pods(self, namespace: str | None, name: str, of: Kind = EMBEDDING_SERVICE) -> list[Json]:
        """Pods labelled for a service, or for a cache; one of the cluster has no namespace."""
        return self._parsed(each for each in self._labelled.get((of, (namespace, name)), ()) if each[0] is POD)

    def others(self, namespace: str, service: str, uid: str) -> list[Json]:
        """Objects labelled for a service, of kinds that it owns, that it does not control."""
        labelled = self._labelled.get((EMBEDDING_SERVICE, (namespace, service)), ())
        found = (each for each in labelled if each[0] is not POD)
        return self._parsed(each for each in found if self._entry(each).owner != uid)

    def mounted(self, claim: str, allows: Callable[[str], bool]) -> frozenset[str]:
        """The paths of a cache that Deployments of the namespaces `allows` mount, and pods of former templates."""
        return frozenset(
            path
            for kind in (DEPLOYMENT, POD)
            for (namespace, _), entry in self._objects[kind.plural].items()
            for name, path in entry.mounts
            if name == claim and allows(namespace or "")
        )

    def users(self, namespace: str, claim: str) -> tuple[Json, ...]:
        """Owner references to the services and caches of a namespace that name a claim, by name."""
        found = (
            {"apiVersion": kind.api_version, "kind": kind.name, "name": name, "uid": entry.uid}
            for kind in (EMBEDDING_SERVICE, MODEL_CACHE)
            for (where, name), entry in self._objects[kind.plural].items()
            if where == namespace and claim in entry.claims
        )
        return tuple(sorted(found, key=lambda each: (each["kind"], each["name"])))

    def owners(self, namespace: str | None, claim: str) -> tuple[str | None, tuple[Kind, Key] | None]:
        """The service and the cache that a claim is labelled for."""
        entry = self._objects[PERSISTENT_VOLUME_CLAIM.plural].get((namespace, claim))
        return (entry.service, entry.cache) if entry else (None, None)

    def writing(self, kind: Kind, namespace: str, claim: str) -> list[Json]:
        """The Jobs, or pods of Jobs, that download into a cache."""
        found = self._objects[kind.plural].items()
        return self._parsed((kind, key) for key, entry in found if key[0] == namespace and entry.writes == claim)

    def all(self, kind: Kind, namespace: str | None = None) -> list[Json]:
        """All objects of a kind, or those in a namespace, parsed: for kinds of which there are few."""
        return self._parsed((kind, key) for key in self._objects[kind.plural] if namespace in (None, key[0]))

    def services(self) -> list[ServiceEntry]:
        """All EmbeddingServices, not parsed."""
        return [entry.info for entry in self._objects[EMBEDDING_SERVICE.plural].values() if entry.info]

    def version(self, kind: Kind) -> int:
        """Another number whenever an object of that kind has changed."""
        return self._versions[kind.plural]

    def has(self, kind: Kind, namespace: str | None, name: str) -> bool:
        """Whether an object of that name is known."""
        return (namespace, name) in self._objects[kind.plural]

    def names(self, kind: Kind, namespace: str | None) -> tuple[str, ...]:
        """Names of the objects of a kind in a namespace."""
        return tuple(name for where, name in self._objects[kind.plural] if where == namespace)

    def count(self, kind: Kind) -> int:
        """Number of objects of a kind."""
        return len(self._objects[kind.plural])

    def upsert(self, kind: Kind, raw: Json, *, is_own: bool = False) -> bool:
        """Take in an object, unless a newer version of it is known; whether anything changed that plans read.

        `is_own`: the answer to a write of ours that needs no other plan: stored without a notification.
        """
        obj = trimmed(kind, raw)
        key = key_of(obj)
        entry, old = Entry(kind, obj, self._packers[kind.plural]), self._objects[kind.plural].get(key)
        if old is not None and not is_newer(entry.version, old.version):
            return False
        if old is not None and old.data == entry.data:
            old.version = entry.version
            return False
        if old is not None:
            self._forget(kind, key, old)
        self._objects[kind.plural][key] = entry
        for index in self._indexes(kind, key, entry):
            index.add((kind, key))
        self._versions[kind.plural] += 1
        if is_own:
            return True
        is_users = kind is EMBEDDING_SERVICE and (old is None or old.generation != entry.generation)
        type_ = ChangeType.MODIFIED if old else ChangeType.ADDED
        claims = frozenset(entry.claims).symmetric_difference(old.claims if old else ())
        self.on_change(Change(type_, kind, *key, entry.service, entry.cache, entry.writes, claims, is_users=is_users))
        if old is not None and old.service not in (None, entry.service):
            self.on_change(Change(type_, kind, *key, service=old.service))
        return True

    def delete(self, kind: Kind, namespace: str | None, name: str, *, uid: str | None, version: str | None) -> bool:
        """It is gone; whether it was known. Of another object of that name, or of an older version, it is no news."""
        key = namespace, name
        entry = self._objects[kind.plural].get(key)
        if entry is None or uid not in (None, entry.uid):
            return False
        if version is not None and version != entry.version and not is_newer(version, entry.version):
            return False
        self._forget(kind, key, entry)
        del self._objects[kind.plural][key]
        self._versions[kind.plural] += 1
        claims = frozenset(entry.claims)
        self.on_change(Change(ChangeType.DELETED, kind, *key, service=entry.service, cache=entry.cache, claims=claims))
        return True

    def deleted(self, kind: Kind, raw: Json) -> bool:
        """The same, reported by a watch."""
        meta = raw["metadata"]
        return self.delete(
            kind, meta.get("namespace"), meta["name"], uid=meta.get("uid"), version=meta.get("resourceVersion")
        )

    def retain(self, kind: Kind, namespace: str | None, keys: set[Key], version: str) -> int:
        """After a list of a kind (in a namespace, or in all): what was not in it is gone, unless it came later.

        Returns how many went.
        """
        known = self._objects[kind.plural]
        missing = [key for key in known if key not in keys and namespace in (None, key[0])]
        return sum(self.delete(kind, *key, uid=None, version=version) for key in missing)

    def replace(self, kind: Kind, objects: Iterable[Json], version: str, namespace: str | None = None) -> None:
        """Take in a whole list at once: `upsert` each, then `retain`."""
        keys = set()
        for raw in objects:
            self.upsert(kind, raw)
            keys.add(key_of(raw))
        self.retain(kind, namespace, keys, version)

    def _entry(self, found: tuple[Kind, Key]) -> Entry:
        kind, key = found
        return self._objects[kind.plural][key]

    def _parsed(self, found: Iterable[tuple[Kind, Key]]) -> list[Json]:
        return [self._entry(each).parsed(self._packers[each[0].plural]) for each in sorted(found, key=_order)]

    def _indexes(self, kind: Kind, key: Key, entry: Entry) -> Iterator[set[tuple[Kind, Key]]]:
        if entry.owner is not None:
            yield self._children[entry.owner]
        for labelled in _labelled_for(kind, key, entry):
            yield self._labelled[labelled]

    def _forget(self, kind: Kind, key: Key, entry: Entry) -> None:
        for index in self._indexes(kind, key, entry):
            index.discard((kind, key))
        if entry.owner is not None and not self._children[entry.owner]:
            del self._children[entry.owner]
        for labelled in _labelled_for(kind, key, entry):
            if not self._labelled[labelled]:
                del self._labelled[labelled]


def _labelled_for(kind: Kind, key: Key, entry: Entry) -> Iterator[tuple[Kind, Key]]:
    """The resources of ours that an object's labels name."""
    if kind.role is Role.RESOURCE:
        return
    if entry.service is not None:
        yield EMBEDDING_SERVICE, (key[0], entry.service)
    if entry.cache is not None:
        yield entry.cache


def _order(found: tuple[Kind, Key]) -> tuple[str, str, str]:
    kind, (namespace, name) = found
    return kind.name, namespace or "", name
