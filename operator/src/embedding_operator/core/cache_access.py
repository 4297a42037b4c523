"""Which caches a service may use: the ModelCaches of its namespace, and ClusterModelCaches through a claim there."""

from collections.abc import Iterator

from embedding_operator.core.model_cache.shared import SharedCache, held_by
from embedding_operator.core.objects import Raw
from embedding_operator.core.pins import recorded
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.settings import Settings

__all__ = ["can_be_mounted", "claims_needed", "usable_caches", "why_not_mounted"]

_MANY_NODES = frozenset({"ReadWriteMany", "ReadOnlyMany"})


def usable_caches(resolved: ResolvedService, snapshot: Snapshot) -> tuple[SharedCache, ...]:
    """Those that allow the service, if it has none of its own. No cache follows a branch, or has code of other
    repositories or parts from other sources. An image of a storage container may make another model of what it
    downloads, and a StorageContainer of the namespace may have another source than the cluster's.
    """
    spec, fetcher = resolved.service.spec.model, resolved.fetcher
    is_special = spec.storage_uris or spec.image_volume or resolved.follows or resolved.serve.trust_remote_code
    if spec.cache or is_special or not fetcher.is_ours:
        return ()
    namespace, is_local = resolved.service.metadata.namespace or "", fetcher.kind == "StorageContainer"
    return tuple(
        each
        for each in snapshot.shared_caches
        if each.location.allows(namespace) and not (each.is_read_only and is_local)
    )


def claims_needed(snapshot: Snapshot) -> frozenset[str]:
    """The claims that `Snapshot.claims` must have: those of ClusterModelCaches with the service's model. If it
    mounts the model already, the claim is not read: the kubelet says what becomes of it.
    """
    model = (snapshot.service.get("spec") or {}).get("model") or {}
    uri, container = str(model.get("storageUri", "")), model.get("storageContainerName")
    in_use = {pin.claim for pin in recorded(snapshot, uri, follows=False)}
    return frozenset(
        each.claim
        for each in snapshot.shared_caches
        if each.is_read_only and each.claim not in in_use and held_by(uri, [each], container)
    )


def can_be_mounted(cache: SharedCache, snapshot: Snapshot, settings: Settings) -> bool:
    """A service that does not use the ClusterModelCache yet may begin to: its claim in the namespace can be mounted."""
    return (
        _is_filled_by_us(cache, settings)
        and cache.claim in snapshot.claims
        and not _trouble(snapshot.claims[cache.claim])
    )


def why_not_mounted(resolved: ResolvedService, snapshot: Snapshot, settings: Settings) -> Iterator[str]:
    """What is wrong with the claims of ClusterModelCaches that have the service's model and allow it."""
    spec, namespace = resolved.service.spec.model, resolved.service.metadata.namespace
    for cache in usable_caches(resolved, snapshot):
        is_known = _is_filled_by_us(cache, settings) and cache.claim in snapshot.claims
        if not is_known or not held_by(spec.storage_uri, [cache], spec.storage_container_name):
            continue
        if trouble := _trouble(snapshot.claims[cache.claim]):
            yield (
                f"{cache.location} has the model, but PersistentVolumeClaim {cache.claim} of namespace {namespace} "
                f"{trouble}: each pod downloads it. With a claim that leads to the volume of the cache, a service that "
                "is created anew mounts it"
            )


def _is_filled_by_us(cache: SharedCache, settings: Settings) -> bool:
    """Whether this operator fills it, and so keeps what its services mount: another one would not see them."""
    return cache.manager == settings.manager


def _trouble(claim: Raw | None) -> str | None:
    """What keeps pods from mounting a claim; None as a claim: there is none."""
    if claim is None:
        return "does not exist"
    if claim["metadata"].get("deletionTimestamp"):
        return "is being deleted"
    phase = (claim.get("status") or {}).get("phase", "Pending")
    if phase != "Bound":
        return f"is not bound to a volume ({phase})"
    modes = claim["spec"].get("accessModes") or ()
    return None if _MANY_NODES & set(modes) else f"cannot be mounted on several nodes ({', '.join(modes)})"
