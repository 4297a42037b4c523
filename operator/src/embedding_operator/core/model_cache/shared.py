"""Which ModelCache of a namespace has a service's model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from embedding_operator.core.model_cache.records import recorded
from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount
from embedding_operator.core.uri_identity import identity
from embedding_operator.resources.model_cache import CachedModelState, CachedModelStatus
from embedding_runtime.contract import BadUri, HuggingFaceUri, parse_uri

__all__ = ["SharedCache", "SharedModel", "held_by", "shared_cache"]


@dataclass(frozen=True)
class SharedCache:
    """A ModelCache as services see it. `mounted` are the paths on its volume that Deployments mount."""

    name: str
    claim: str
    models: tuple[CachedModelStatus, ...]
    """Those that are Ready."""
    storage_containers: Mapping[str, str] = field(default_factory=dict)
    """The names of those that the spec gives, by the URI of the model."""
    capacity: int | None = None
    """Bytes of the volume that Jobs of services may use, too; None: all."""
    mounted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SharedModel:
    """A model of a cache. `revision` is its commit, if it is one of a hub."""

    cache: SharedCache
    revision: str | None


def shared_cache(raw: Raw) -> SharedCache | None:
    """None: services do not use it, since it is being deleted. A status that somebody has emptied takes the claim from
    no service.
    """
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    if meta.get("deletionTimestamp"):
        return None
    claim = status.get("claim") or spec.get("persistentVolumeClaim") or meta["name"]
    models = (each for each in recorded(status).values() if each.state is CachedModelState.READY)
    names = {identity(each["storageUri"]): each.get("storageContainerName") for each in spec.get("models") or ()}
    given = {uri: name for uri, name in names.items() if name}
    return SharedCache(meta["name"], claim, tuple(models), given, _bytes(spec.get("capacity")))


def held_by(uri: str, caches: Iterable[SharedCache], storage_container: str | None = None) -> SharedModel | None:
    """The model of that URI, or of its repository at its commit, in the first cache by name that has it.

    `storage_container`: the name that the service gives. Another one may download from another place.
    """
    wanted, at_commit = identity(uri), _hub(uri)
    for cache in sorted(caches, key=lambda each: each.name):
        for model in cache.models:
            if cache.storage_containers.get(model.storage_uri) != storage_container:
                continue
            if model.storage_uri == wanted or (model.revision and _at(model.storage_uri, model.revision) == at_commit):
                return SharedModel(cache, model.revision)
    return None


def _bytes(capacity: str | None) -> int | None:
    try:
        return int(amount(capacity)) if capacity else None
    except ValueError:  # the status of the cache says so
        return None


def _hub(uri: str) -> HuggingFaceUri | None:
    try:
        parsed = parse_uri(uri)
    except BadUri:
        return None
    return parsed if isinstance(parsed, HuggingFaceUri) else None


def _at(uri: str, revision: str) -> HuggingFaceUri | None:
    parsed = _hub(uri)
    return HuggingFaceUri(parsed.repo_id, revision) if parsed else None
