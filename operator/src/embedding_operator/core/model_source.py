"""Where the pods of a service get their model: the URI as it is, a pinned version, or a Job has to find out first."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime

from embedding_operator.core import storage
from embedding_operator.core.build.base import Desired
from embedding_operator.core.cache_access import can_be_mounted, usable_caches
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.finding_job import RETRY, finding_job, has_lost_its_result, is_recent, reported
from embedding_operator.core.model_cache.shared import SharedCache, SharedModel, held_by
from embedding_operator.core.pins import Pin, has_record, recorded
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.uri_identity import identity
from embedding_operator.core.versions import may_move
from embedding_operator.settings import Settings
from embedding_runtime.contract import HuggingFaceUri

__all__ = ["ModelSource", "find_shared", "find_source"]


@dataclass(frozen=True)
class ModelSource:
    """`job` is what is wanted of the kind Job. Without `is_known` no pods can be made yet. `checks`: the Job looks for
    a version that is newer than `pin`.
    """

    pin: Pin | None = None
    job: Desired | None = None
    is_known: bool = True
    checks: bool = False


def find_source(
    resolved: ResolvedService,
    revision: Callable[[], str],
    snapshot: Snapshot,
    settings: Settings,
    now: datetime,
    *,
    is_held: Callable[[Pin], bool],
) -> ModelSource:
    """`revision`: that of the service without a pin, as releases before pins had it. `is_held`: this version has
    failed, so no pods are made with it.
    """
    claim = resolved.cache_claim
    held = _held(resolved)
    if held is not None or not snapshot.runs_jobs or not (_needs_version(resolved) or claim):
        return ModelSource(held)
    if not (claim or resolved.follows) and _is_of_earlier_release(revision, snapshot):
        return ModelSource()
    pins = list(recorded(snapshot, resolved.service.spec.model.storage_uri, follows=resolved.follows))
    known = next((each for each in pins if each.version == pins[0].version and _is_usable(each, resolved)), None)
    if known is not None and claim is None:
        known = known.without_path()
    if known is not None and not (_is_kept(known, snapshot) or is_held(known)):
        known = None
    if known is not None and not resolved.follows:
        return ModelSource(known)
    at = None if resolved.follows else pins[0] if pins else resolved.shared.model if resolved.shared else None
    stays = resolved.update_interval if known else min(RETRY, resolved.update_interval)
    job = finding_job(resolved, at.revision if at else None, snapshot, settings, now, ttl_seconds=stays)
    live = next((each for each in snapshot.jobs if each["metadata"]["name"] == job["metadata"]["name"]), None)
    reports = reported(live, resolved, snapshot) if live else ()
    found = next((each for each in reports if _is_usable(each, resolved)), None)
    if live and found and not (is_recent(live, now) or _is_kept(found, snapshot) or is_held(found)):
        return ModelSource(known, is_known=known is not None, checks=known is not None)
    if found is not None:
        is_same = known is not None and (known.version, known.path) == (found.version, found.path)
        return ModelSource(known if is_same else found, job)
    wanted = None if live and has_lost_its_result(live, snapshot, now) else job
    return ModelSource(known, wanted, is_known=known is not None, checks=known is not None)


def _held(resolved: ResolvedService) -> Pin | None:
    """The model in a cache that services do not write to: no Job of theirs has to look for it."""
    shared = resolved.shared
    if shared is None or not shared.cache.is_read_only:
        return None
    return Pin.of(shared.model, resolved.service.spec.model.storage_uri, shared.cache.claim)


def _needs_version(resolved: ResolvedService) -> bool:
    """Our initializer finds it out; others may have registries of their own, but hubs are alike."""
    return may_move(resolved.uri) and (resolved.fetcher.is_ours or isinstance(resolved.uri, HuggingFaceUri))


def find_shared(
    resolved: ResolvedService, revision: Callable[[], str], snapshot: Snapshot, settings: Settings
) -> SharedModel | None:
    """The model in a cache of the namespace or the cluster. None: the service has one of its own, or none has it.

    What is deployed stays as it is: it does not begin to use a cache that has the model now, and it goes on with the
    one that it uses, while that exists and may be used.
    """
    caches, uri = usable_caches(resolved, snapshot), resolved.service.spec.model.storage_uri
    pin = next(recorded(snapshot, uri, follows=False), None)
    if pin is not None:
        cache = next((each for each in caches if each.claim == pin.claim), None)
        is_there = cache is not None and (not cache.is_read_only or _is_kept(pin, snapshot) or cache.has(pin.path))
        return SharedModel(cache, pin) if cache is not None and is_there else None
    if _is_of_earlier_release(revision, snapshot):
        return None
    mountable = (each for each in caches if not each.is_read_only or can_be_mounted(each, snapshot, settings))
    alike = (_fetched_alike(each, resolved, snapshot) for each in mountable)
    return held_by(uri, alike, resolved.service.spec.model.storage_container_name)


def _fetched_alike(cache: SharedCache, resolved: ResolvedService, snapshot: Snapshot) -> SharedCache:
    """Without the models that another storage container downloads: it may do so from another place."""
    namespace, reads = resolved.service.metadata.namespace, snapshot.storage_containers

    def is_alike(uri: str) -> bool:
        name = cache.storage_containers.get(uri)
        fetcher = (storage.named(name, namespace, reads) if name else storage.match(uri, namespace, reads)).fetcher
        return fetcher is not None and (fetcher.kind, fetcher.name) == (resolved.fetcher.kind, resolved.fetcher.name)

    own = identity(resolved.service.spec.model.storage_uri)
    models = {uri: model for uri, model in cache.models.items() if uri == own or is_alike(uri)}
    return replace(cache, models=models)


def _is_usable(pin: Pin, resolved: ResolvedService) -> bool:
    """It says all that the pods need."""
    if not pin.is_version or (pin.revision is None and _needs_version(resolved)):
        return False
    return resolved.cache_claim is None or (pin.claim == resolved.cache_claim and pin.path is not None)


def _is_kept(pin: Pin, snapshot: Snapshot) -> bool:
    """Nothing evicts the model from its cache: a Deployment mounts it."""
    if pin.path is None:
        return True
    return any((pin.claim, pin.path) == each for live in snapshot.deployments.values() for each in mounted(live))


def _is_of_earlier_release(revision: Callable[[], str], snapshot: Snapshot) -> bool:
    """Each of its pods decides: an upgrade of the operator changes nothing about a service that runs, or has failed."""
    without = {each for each, live in snapshot.deployments.items() if not has_record(live)}
    failed = (snapshot.status.get("revision") or {}).get("failed")
    if failed and "model" not in failed:
        without.add(failed["revision"])
    return bool(without) and revision() in without
