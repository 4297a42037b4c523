"""The spec of a cache, with defaults applied, or every problem of it and of each model.

A model is resolved like that of a service which has this model and nothing else: the same storage containers, Secrets
and policies apply.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from embedding_operator.constants import API_VERSION
from embedding_operator.core import resolve
from embedding_operator.core.checks.cache import check_owner
from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.model_cache.location import CacheLocation, location_of
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount
from embedding_operator.core.reasons import Reason
from embedding_operator.core.resolve import ResolvedService, resolve_service
from embedding_operator.core.snapshot import Snapshot, StorageRead
from embedding_operator.core.uri_identity import identity
from embedding_operator.errors import Problem, Refused
from embedding_operator.kinds import CLUSTER_MODEL_CACHE, MODEL_CACHE, Kind
from embedding_operator.resources.model_cache import CachedModel, ClusterModelCache, ModelCache
from embedding_operator.resources.words import in_words
from embedding_operator.settings import Settings
from embedding_runtime.contract import SCHEMES, FileUri, ForeignUri, PvcUri

__all__ = ["ResolvedCache", "ResolvedModel", "resolve_cache", "secrets_needed"]

_NOT_DOWNLOADED = ("file://", "pvc://")
_MODELS: Mapping[Kind, type[ModelCache | ClusterModelCache]] = {
    MODEL_CACHE: ModelCache,
    CLUSTER_MODEL_CACHE: ClusterModelCache,
}


@dataclass(frozen=True)
class ResolvedModel:
    """`source` is None where there are problems. `uri` is the `identity` of what the spec has."""

    uri: str
    source: ResolvedService | None
    problems: tuple[Problem, ...] = ()


@dataclass(frozen=True)
class ResolvedCache:
    """A valid spec; its models may have problems, each of its own."""

    cache: ModelCache | ClusterModelCache
    location: CacheLocation
    capacity: int | None
    models: tuple[ResolvedModel, ...]


def resolve_cache(snapshot: CacheSnapshot, settings: Settings) -> ResolvedCache:
    """Raises Refused for what concerns all models."""
    location = snapshot.location
    model = _MODELS[location.kind]
    try:
        cache = model.model_validate({**snapshot.cache, "status": {}})
    except ValidationError as error:
        raise Refused(invalid(in_words(error, model))) from error
    capacity, problems = _bytes(cache.spec.capacity, "spec.capacity")
    problems += _check_models(cache.spec.models)
    if isinstance(cache, ModelCache):
        problems += _check_volume(cache, snapshot)
    elif not location.is_seen(settings.namespaces):
        problems.append(_not_watched(location))
    if problems:
        raise Refused(problems)
    models = tuple(_resolved(number, each, snapshot, settings) for number, each in enumerate(cache.spec.models))
    return ResolvedCache(cache, location, capacity, models)


def secrets_needed(raw: Raw, reads: Sequence[StorageRead]) -> Mapping[str, frozenset[str]]:
    """The Secrets of the namespace that the snapshot must have, with the keys that are asked for."""
    location = location_of(raw)
    try:
        cache = _MODELS[location.kind].model_validate({**raw, "status": {}})
    except ValidationError:
        return {}
    found: dict[str, frozenset[str]] = {}
    for model in cache.spec.models:
        for name, keys in resolve.secrets_needed(_as_service(model, location.namespace), reads).items():
            found[name] = found.get(name, frozenset()) | keys
    return found


def _resolved(number: int, model: CachedModel, snapshot: CacheSnapshot, settings: Settings) -> ResolvedModel:
    field, uri = f"spec.models[{number}]", identity(model.storage_uri)
    as_service = Snapshot(
        _as_service(model, snapshot.location.namespace),
        storage_containers=snapshot.storage_containers,
        secrets=snapshot.secrets,
        unlabelled_secrets=snapshot.unlabelled_secrets,
    )
    try:
        source = resolve_service(as_service, settings)
    except Refused as refused:
        problems = (Problem(each.reason, each.message.replace("spec.model.", f"{field}.")) for each in refused.problems)
        return ResolvedModel(uri, None, tuple(problems))
    if isinstance(source.uri, FileUri | ForeignUri | PvcUri):
        scheme = model.storage_uri.partition("://")[0]
        known = ", ".join(each for each in SCHEMES if each not in _NOT_DOWNLOADED)
        message = (
            f"{field}.storageUri: {scheme}:// is not for caches, which the operator's storage image fills: it "
            f"downloads {known}. Name this URI in the service itself"
        )
        return ResolvedModel(uri, None, tuple(invalid([message])))
    return ResolvedModel(uri, source)


def _as_service(model: CachedModel, namespace: str) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "EmbeddingService",
        "metadata": {"name": "model", "namespace": namespace},
        "spec": {"model": model.model_dump(mode="json", by_alias=True, exclude_none=True)},
    }


def _not_watched(location: CacheLocation) -> Problem:
    """The same words from every operator, so that several write the same status."""
    message = (
        f"spec.namespace: no operator watches {location.namespace}: add it to watchNamespaces of an operator's chart, "
        "or create a ClusterModelCache with another namespace"
    )
    return Problem(Reason.NAMESPACE_NOT_WATCHED, message)


def _check_models(models: Sequence[CachedModel]) -> list[Problem]:
    uris = [identity(each.storage_uri) for each in models]
    return invalid(
        f"spec.models: {uri} is listed twice: list each URI once" for uri in dict.fromkeys(uris) if uris.count(uri) > 1
    )


def _check_volume(cache: ModelCache, snapshot: CacheSnapshot) -> list[Problem]:
    """The CRD's CEL rules check some of it on an API server."""
    spec, messages = cache.spec, []
    if (spec.persistent_volume_claim is None) == (spec.size is None):
        messages.append("spec: give exactly one of persistentVolumeClaim and size")
    elif spec.persistent_volume_claim is not None and (spec.storage_class_name or spec.access_mode):
        messages.append("spec: storageClassName and accessMode go with size, not with persistentVolumeClaim")
    field = "metadata.name" if spec.persistent_volume_claim is None else "spec.persistentVolumeClaim"
    owners = (location_of(each) for each in snapshot.cluster_caches)
    owner = next((each for each in owners if each.owns(snapshot.location.claim, snapshot.location.namespace)), None)
    size, bad_size = _bytes(spec.size, "spec.size")
    return [
        *invalid(messages),
        *check_owner(field, snapshot.location.claim, owner, "use another claim"),
        *bad_size,
        *_check_shrink(size, snapshot.claim),
    ]


def _check_shrink(size: int | None, claim: Raw | None) -> list[Problem]:
    if size is None or claim is None:
        return []
    live = str(claim["spec"]["resources"]["requests"]["storage"])
    if amount(live) <= size:
        return []
    name = claim["metadata"]["name"]
    message = (
        f"spec.size is smaller than PersistentVolumeClaim {name}, which has {live} and cannot shrink: set spec.size to "
        f"{live} or more; spec.capacity limits what is used of it"
    )
    return invalid([message])


def _bytes(text: str | None, field: str) -> tuple[int | None, list[Problem]]:
    if text is None:
        return None, []
    try:
        return int(amount(text)), []
    except ValueError as error:
        return None, invalid([f"{field}: {error}"])
