"""One object in the store: compressed JSON, and beside it the few values that are asked for without parsing it.

Objects of a kind are alike: with the first of them as the dictionary, zlib needs a few hundred bytes for another.
"""

import json
import zlib
from dataclasses import dataclass
from sys import intern
from typing import Any

from embedding_operator.constants import CACHE_LABEL, CLUSTER_CACHE_LABEL, SERVICE_LABEL
from embedding_operator.core.cache_mounts import mounted, named_claims, written_claim
from embedding_operator.core.objects import condition_of
from embedding_operator.kinds import (
    CLUSTER_MODEL_CACHE,
    DEPLOYMENT,
    EMBEDDING_SERVICE,
    JOB,
    MODEL_CACHE,
    POD,
    Kind,
    Role,
)

__all__ = ["Entry", "Json", "Key", "Packer", "ServiceEntry", "is_newer", "key_of"]

Json = dict[str, Any]
Key = tuple[str | None, str]
"""Namespace and name."""


@dataclass(frozen=True)
class ServiceEntry:
    """What the store knows of a service without parsing it: where its model comes from, and what fetches it."""

    namespace: str
    name: str
    uri: str
    storage_container: str | None
    """The name in the spec."""
    fetched_by: tuple[str, str] | None
    """Kind and name in the status."""
    ready: tuple[str, str]
    """Status and reason of its Ready condition."""


class Packer:
    """Objects to bytes and back. The first becomes the dictionary for all. Equal objects, equal bytes."""

    def __init__(self) -> None:
        self._like = b""

    def pack(self, obj: Json) -> bytes:
        """The object, compressed."""
        data = json.dumps(obj, separators=(",", ":"), ensure_ascii=False).encode()
        self._like = self._like or data
        compressor = zlib.compressobj(level=1, zdict=self._like)
        return compressor.compress(data) + compressor.flush()

    def unpack(self, packed: bytes) -> Json:
        """The object, the caller's own."""
        obj: Json = json.loads(zlib.decompressobj(zdict=self._like).decompress(packed))
        return obj


class Entry:
    """One object."""

    __slots__ = (
        "cache",
        "claims",
        "data",
        "generation",
        "info",
        "mounts",
        "owner",
        "service",
        "uid",
        "version",
        "writes",
    )

    def __init__(self, kind: Kind, obj: Json, packer: Packer) -> None:
        meta = obj["metadata"]
        self.uid: str = meta["uid"]
        self.version: str = meta.pop("resourceVersion")
        self.generation: int | None = meta.get("generation")
        labels = meta.get("labels") or {}
        self.service: str | None = labels.get(SERVICE_LABEL)
        self.cache: tuple[Kind, Key] | None = _cache(meta, labels)
        self.owner: str | None = _controller(obj) if kind.role is Role.CHILD else None
        self.mounts: tuple[tuple[str, str], ...] = _mounts(kind, obj)
        self.claims: tuple[str, ...] = tuple(named_claims(obj)) if kind.role is Role.RESOURCE else ()
        self.writes: str | None = _writes(kind, obj)
        self.info: ServiceEntry | None = _info(obj) if kind is EMBEDDING_SERVICE else None
        self.data = packer.pack(obj)
        meta["resourceVersion"] = self.version

    def parsed(self, packer: Packer) -> Json:
        """The object, the caller's own copy."""
        obj = packer.unpack(self.data)
        obj["metadata"]["resourceVersion"] = self.version
        return obj


def _cache(meta: Json, labels: Json) -> tuple[Kind, Key] | None:
    if name := labels.get(CACHE_LABEL):
        return MODEL_CACHE, (meta.get("namespace"), name)
    if name := labels.get(CLUSTER_CACHE_LABEL):
        return CLUSTER_MODEL_CACHE, (None, name)
    return None


def _mounts(kind: Kind, obj: Json) -> tuple[tuple[str, str], ...]:
    """Claims and paths of the models that pods mount."""
    if kind is POD:  # one of a former template, maybe, which its Deployment does not show any more
        return tuple(mounted({"spec": {"template": obj}}))
    return tuple(mounted(obj)) if kind is DEPLOYMENT else ()


def _writes(kind: Kind, obj: Json) -> str | None:
    """The claim of the cache that a Job, or its pod, downloads into."""
    if kind is POD:
        return written_claim({"spec": {"template": obj}})
    return written_claim(obj) if kind is JOB else None


def key_of(obj: Json) -> Key:
    meta = obj["metadata"]
    return meta.get("namespace"), meta["name"]


def _controller(obj: Json) -> str | None:
    owners = obj["metadata"].get("ownerReferences") or ()
    return next((each["uid"] for each in owners if each.get("controller")), None)


def _info(obj: Json) -> ServiceEntry:
    model = (obj.get("spec") or {}).get("model") or {}
    status = obj.get("status") or {}
    fetched_by = status.get("storageContainer") or {}
    ready = condition_of(status, "Ready")
    return ServiceEntry(
        *key_of(obj),  # type: ignore[arg-type]
        uri=str(model.get("storageUri", "")),
        storage_container=model.get("storageContainerName"),
        fetched_by=(fetched_by["kind"], fetched_by["name"]) if fetched_by.get("name") else None,
        ready=(intern(ready.get("status", "Unknown")), intern(ready.get("reason", ""))),
    )


def is_newer(version: str, than: str) -> bool:
    """Versions are numbers in all API servers there are; where they are not, the last one seen counts."""
    if version.isdecimal() and than.isdecimal():
        return int(version) > int(than)
    return version != than
