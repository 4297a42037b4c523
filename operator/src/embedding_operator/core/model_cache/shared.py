"""Which cache within reach of a namespace has a service's model."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from pydantic import ValidationError

from embedding_operator.core.model_cache.location import CacheLocation, location_of
from embedding_operator.core.model_cache.records import recorded
from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount
from embedding_operator.core.uri_identity import identity
from embedding_operator.resources.model_cache import CachedModelState, CachedModelStatus
from embedding_runtime.contract import BadUri, DownloadedModel, HuggingFaceUri, parse_uri

__all__ = ["SharedCache", "SharedModel", "held_by", "shared_cache"]


@dataclass(frozen=True)
class SharedCache:
    """A cache as services see it. `mounted` are the paths on its volume that Deployments mount, where services run Jobs
    that must keep them.
    """

    location: CacheLocation
    claim: str
    models: Mapping[str, DownloadedModel]
    """Those that are Ready, by URI, as their Jobs reported them."""
    storage_containers: Mapping[str, str] = field(default_factory=dict)
    """The names of those that the spec gives, by the URI of the model."""
    capacity: int | None = None
    """Bytes of the volume that Jobs of services may use, too; None: all."""
    mounted: frozenset[str] = frozenset()
    manager: str | None = None
    """The operator that fills it: it alone sees to it that what services mount is not evicted."""

    @property
    def is_read_only(self) -> bool:
        """Services run no Jobs that write to it."""
        return self.location.is_cluster_wide

    def has(self, path: str | None) -> bool:
        """That model is there."""
        return any(each.path == path for each in self.models.values())


@dataclass(frozen=True)
class SharedModel:
    """A model of a cache, as its Job reported it, or as a Deployment records it."""

    cache: SharedCache
    model: DownloadedModel


def shared_cache(raw: Raw) -> SharedCache | None:
    """None: services do not use it, since it is being deleted. A status that somebody has emptied takes the claim from
    no service.
    """
    meta, spec, status = raw["metadata"], raw.get("spec") or {}, raw.get("status") or {}
    if meta.get("deletionTimestamp"):
        return None
    location = location_of(raw)
    claim = status.get("claim") or location.claim
    reports = {uri: _report(each) for uri, each in recorded(status).items() if each.state is CachedModelState.READY}
    models = {uri: each for uri, each in reports.items() if each is not None}
    names = {identity(each["storageUri"]): each.get("storageContainerName") for each in spec.get("models") or ()}
    given = {uri: name for uri, name in names.items() if name}
    limit, manager = _bytes(spec.get("capacity")), status.get("manager")
    return SharedCache(location, claim, models, given, limit, manager=manager)


def held_by(uri: str, caches: Iterable[SharedCache], storage_container: str | None = None) -> SharedModel | None:
    """The model of that URI, or of its repository at its commit, in the first cache by name that has it; those of the
    namespace come first.

    `storage_container`: the name that the service gives. Another one may download from another place.
    """
    wanted, at_commit = identity(uri), _hub(uri)
    for cache in sorted(caches, key=lambda each: (each.location.is_cluster_wide, each.location.name)):
        for held, model in cache.models.items():
            if cache.storage_containers.get(held) != storage_container:
                continue
            is_at_commit = at_commit is not None and model.revision and _at(held, model.revision) == at_commit
            if held == wanted or is_at_commit:
                return SharedModel(cache, model)
    return None


def _report(model: CachedModelStatus) -> DownloadedModel | None:
    """What its Job reported. None: somebody has edited the status, or another release wrote it."""
    try:
        return DownloadedModel(weights_bytes=model.bytes or 0, revision=model.revision, path=model.path)
    except ValidationError:
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
