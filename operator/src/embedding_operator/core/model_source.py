"""Where the pods of a service get their model: the URI as it is, a pinned version, or a Job has to find out first."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from embedding_operator.core import names, storage
from embedding_operator.core.build.base import Desired, controller_of, digest
from embedding_operator.core.build.model_job import model_job
from embedding_operator.core.build.pods import hub_variables, own_token
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.model_cache.shared import SharedCache, SharedModel, held_by
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.pins import Pin, has_record, recorded
from embedding_operator.core.pods import Pod
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.uri_identity import identity
from embedding_operator.core.versions import may_move
from embedding_operator.settings import Settings
from embedding_runtime.contract import CACHE_DIR, HuggingFaceUri

__all__ = ["ModelSource", "find_shared", "find_source"]

_RETRY = 300
"""Seconds for which a Job that failed stays; then it is removed, and created again. It is half of the time for which a
cache evicts nothing that was used: what a Job has found is mounted, or looked for again."""
_LOST_AFTER = timedelta(seconds=30)
"""A Job that completed this long ago, and whose pod is unknown, has lost its result."""


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
    revision: str,
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
    if not snapshot.runs_jobs or not (_needs_version(resolved) or claim):
        return ModelSource()
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
    at = None if resolved.follows else pins[0] if pins else resolved.shared
    job = _job(resolved, at.revision if at else None, settings, snapshot, now)
    job["spec"]["ttlSecondsAfterFinished"] = (
        resolved.update_interval if known else min(_RETRY, resolved.update_interval)
    )
    live = next((each for each in snapshot.jobs if each["metadata"]["name"] == job["metadata"]["name"]), None)
    found = _result(live, resolved, snapshot) if live else None
    if live and found and not (_is_recent(live, now) or _is_kept(found, snapshot) or is_held(found)):
        return ModelSource(known, is_known=known is not None, checks=known is not None)
    if found is not None:
        is_same = known is not None and (known.version, known.path) == (found.version, found.path)
        return ModelSource(known if is_same else found, job)
    wanted = None if live and _has_lost_its_result(live, snapshot, now) else job
    return ModelSource(known, wanted, is_known=known is not None, checks=known is not None)


def _needs_version(resolved: ResolvedService) -> bool:
    """Our initializer finds it out; others may have registries of their own, but hubs are alike."""
    return may_move(resolved.uri) and (resolved.fetcher.is_ours or isinstance(resolved.uri, HuggingFaceUri))


def find_shared(resolved: ResolvedService, revision: str, snapshot: Snapshot) -> SharedModel | None:
    """The model in a ModelCache of the namespace. None: the service has a cache of its own, or there is none with it.

    What is deployed stays as it is: it does not begin to use a cache that has the model now, and it goes on with the
    one that it uses, while that exists. No ModelCache follows a branch, or has code of other repositories or parts
    from other sources. An image of a storage container may make another model of what it downloads.
    """
    if resolved.cache_claim is not None or not snapshot.shared_caches or not resolved.fetcher.is_ours:
        return None
    model = resolved.service.spec.model
    if resolved.follows or resolved.serve.trust_remote_code or model.storage_uris or model.image_volume:
        return None
    uri = model.storage_uri
    pin = next(recorded(snapshot, uri, follows=False), None)
    if pin is not None:
        cache = next((each for each in snapshot.shared_caches if each.claim == pin.claim), None)
        return SharedModel(cache, pin.revision) if cache else None
    if _is_of_earlier_release(revision, snapshot):
        return None
    caches = (_fetched_alike(each, resolved, snapshot) for each in snapshot.shared_caches)
    return held_by(uri, caches, model.storage_container_name)


def _fetched_alike(cache: SharedCache, resolved: ResolvedService, snapshot: Snapshot) -> SharedCache:
    """Without the models that another storage container downloads: it may do so from another place."""
    namespace, reads = resolved.service.metadata.namespace, snapshot.storage_containers

    def is_alike(uri: str) -> bool:
        name = cache.storage_containers.get(uri)
        fetcher = (storage.named(name, namespace, reads) if name else storage.match(uri, namespace, reads)).fetcher
        return fetcher is not None and (fetcher.kind, fetcher.name) == (resolved.fetcher.kind, resolved.fetcher.name)

    own = identity(resolved.service.spec.model.storage_uri)
    models = (each for each in cache.models if each.storage_uri == own or is_alike(each.storage_uri))
    return replace(cache, models=tuple(models))


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


def _is_recent(job: Raw, now: datetime) -> bool:
    """Nothing has evicted the model that the Job found: it was used within the time that caches grant. Most Jobs are
    removed before that, by the cluster's own clock; those that wait for the next check are not.
    """
    complete = condition_of(job.get("status") or {}, "Complete")
    if job["spec"]["ttlSecondsAfterFinished"] <= _RETRY or complete.get("status") != "True":
        return True
    return now - datetime.fromisoformat(complete["lastTransitionTime"]) < timedelta(seconds=_RETRY)


def _is_of_earlier_release(revision: str, snapshot: Snapshot) -> bool:
    """Each of its pods decides: an upgrade of the operator changes nothing about a service that runs, or has failed."""
    live = snapshot.deployments.get(revision)
    failed = (snapshot.status.get("revision") or {}).get("failed") or {}
    return (live is not None and not has_record(live)) or (failed.get("revision") == revision and "model" not in failed)


def _job(
    resolved: ResolvedService, commit: str | None, settings: Settings, snapshot: Snapshot, now: datetime
) -> Desired:
    """Its name says what it does, since a Job cannot be changed; what a cache must keep is that of its creation.

    `commit`: the one that it is to download, if it is known.
    """
    service, claim = resolved.service, resolved.cache_claim
    uri = resolved.uri_at(commit)
    cache = resolved.shared.cache if resolved.shared else None
    kept = cache.mounted if cache else snapshot.cached
    keep = [f"--keep={','.join(sorted(kept))}"] if kept else []
    limits = [*keep, f"--listed-at={int(now.timestamp())}"]
    if cache is not None and cache.capacity is not None:
        limits.append(f"--capacity={cache.capacity}")
    options = resolved.fetcher.cache_options if claim else ()
    job = model_job(
        name="",
        namespace=service.metadata.namespace,
        labels=names.job_labels(service),
        owner=controller_of(service),
        command=["cache", uri, str(CACHE_DIR), *limits, *options] if claim else ["resolve", uri],
        settings=settings,
        ttl_seconds=_RETRY,
        container=resolved.fetcher.container,
        env=hub_variables(resolved, settings),
        token=own_token(resolved),
        claim=claim,
    )
    (container,) = job["spec"]["template"]["spec"]["containers"]
    interval = resolved.update_interval if resolved.follows else None  # another one checks at once
    token = own_token(resolved)  # only its mount is in the container: another Secret is worth another attempt
    secret = token.model_dump(mode="json") if token else None
    what = {**container, "args": uri, "claim": claim, "service": service.metadata.name, "interval": interval}
    what |= {"token": secret} if secret else {}
    what |= {"options": options} if options else {}
    return {**job, "metadata": {**job["metadata"], "name": names.job_name(service, digest(what, 8))}}


def _result(job: Raw, resolved: ResolvedService, snapshot: Snapshot) -> Pin | None:
    uri, claim = resolved.service.spec.model.storage_uri, resolved.cache_claim
    reports = [each.downloaded for each in _pods(job, snapshot) if each.downloaded is not None]
    pins = [Pin.of(each, uri, claim) for each in reports]
    return next((each for each in pins if _is_usable(each, resolved)), None)


def _has_lost_its_result(job: Raw, snapshot: Snapshot, now: datetime) -> bool:
    """It succeeded, and its pod has been removed."""
    complete = condition_of(job.get("status") or {}, "Complete")
    if complete.get("status") != "True" or _pods(job, snapshot):
        return False
    return now - datetime.fromisoformat(complete["lastTransitionTime"]) >= _LOST_AFTER


def _pods(job: Raw, snapshot: Snapshot) -> tuple[Pod, ...]:
    return tuple(each for each in snapshot.job_pods if each.revision == job["metadata"]["name"])
