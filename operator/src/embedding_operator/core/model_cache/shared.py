"""Which ModelCache of a namespace has a service's model."""

from collections.abc import Iterable
from dataclasses import dataclass

from embedding_operator.core.model_cache.records import recorded
from embedding_operator.core.objects import Raw
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
    mounted: frozenset[str] = frozenset()


@dataclass(frozen=True)
class SharedModel:
    """A model of a cache. `revision` is its commit, if it is one of a hub."""

    cache: SharedCache
    revision: str | None


def shared_cache(raw: Raw) -> SharedCache | None:
    """None: services do not use it, since it has no claim yet, or is being deleted."""
    meta, status = raw["metadata"], raw.get("status") or {}
    if meta.get("deletionTimestamp") or not status.get("claim"):
        return None
    models = (each for each in recorded(status).values() if each.state is CachedModelState.READY)
    return SharedCache(meta["name"], status["claim"], tuple(models))


def held_by(uri: str, caches: Iterable[SharedCache]) -> SharedModel | None:
    """The model of that URI, or of its repository at its commit, in the first cache by name that has it."""
    for cache in sorted(caches, key=lambda each: each.name):
        for model in cache.models:
            if model.storage_uri == uri or (model.revision and _at(model.storage_uri, model.revision) == _hub(uri)):
                return SharedModel(cache, model.revision)
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
