"""The objects of a cache: its claim, and a Job for each model that is to be downloaded."""

from collections.abc import Collection, Iterable
from datetime import datetime

from embedding_operator.constants import API_VERSION, MANAGED_BY, MANAGED_LABEL
from embedding_operator.core.build.base import Desired, digest
from embedding_operator.core.build.claim import grown
from embedding_operator.core.build.model_job import cache_command, model_job
from embedding_operator.core.build.pods import hub_variables, own_token
from embedding_operator.core.diff import owners
from embedding_operator.core.model_cache.location import CacheLocation
from embedding_operator.core.model_cache.resolve import ResolvedCache
from embedding_operator.core.objects import Raw
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.kinds import PERSISTENT_VOLUME_CLAIM
from embedding_operator.resources.model_cache import ModelCacheSpec
from embedding_operator.settings import Settings

__all__ = ["JOB_STAYS_SECONDS", "claim", "download_job", "enlarged", "job_name", "with_owners"]

JOB_STAYS_SECONDS = 300
"""Seconds after which the Job controller removes a Job that has ended. If its model is still wanted, it is created
again then."""
_NAME_IN_JOB = 48
"""Characters of the cache's name in a Job's, which becomes a label of its pods: it has at most 63."""


def claim(resolved: ResolvedCache, users: Iterable[Raw] = ()) -> Desired | None:
    """The claim that the cache owns; None: the spec names one of the user's. `users` own it, too, so that it is not
    collected with the cache alone.
    """
    spec, location = resolved.cache.spec, resolved.location
    if not isinstance(spec, ModelCacheSpec) or spec.size is None:
        return None
    storage_class = {"storageClassName": spec.storage_class_name} if spec.storage_class_name else {}
    return {
        "apiVersion": PERSISTENT_VOLUME_CLAIM.api_version,
        "kind": PERSISTENT_VOLUME_CLAIM.name,
        "metadata": {
            "name": location.claim,
            "namespace": location.namespace,
            "labels": _labels(location),
            "ownerReferences": [_owner(resolved), *users],
        },
        "spec": {
            "accessModes": [spec.access_mode or "ReadWriteOnce"],
            "resources": {"requests": {"storage": spec.size}},
            **storage_class,
        },
    }


def with_owners(live: Raw, wanted: Raw) -> Desired | None:
    """The claim with its owners; None: it has them, and none that does not name it any more."""
    present, owning = live["metadata"].get("ownerReferences") or (), owners(wanted, live)
    if {each["uid"] for each in present} == {each["uid"] for each in owning}:
        return None
    return {**live, "metadata": {**live["metadata"], "ownerReferences": owning}}


def enlarged(live: Raw, wanted: Raw) -> Desired | None:
    """The claim with the size that is wanted; None: it is as large already."""
    spec = grown(live["spec"], wanted["spec"]["resources"]["requests"]["storage"])
    return {**live, "spec": spec} if spec != live["spec"] else None


def download_job(
    resolved: ResolvedCache, source: ResolvedService, keep: Collection[str], settings: Settings, now: datetime
) -> Desired:
    """Downloads one model, see `cache_command`."""
    uri, options = source.service.spec.model.storage_uri, source.fetcher.cache_options
    return model_job(
        name=job_name(resolved, source),
        namespace=resolved.location.namespace,
        labels={**_labels(resolved.location), "app.kubernetes.io/name": "embedding-storage"},
        owner=_owner(resolved),
        command=cache_command(uri, keep, now, capacity=resolved.capacity, options=options),
        settings=settings,
        ttl_seconds=JOB_STAYS_SECONDS,
        container=source.fetcher.container,
        env=hub_variables(source, settings),
        token=own_token(source),
        claim=resolved.location.claim,
    )


def job_name(resolved: ResolvedCache, source: ResolvedService) -> str:
    """Its name says what it downloads, how and where to: a Job cannot be changed. A new release changes no name."""
    location, token = resolved.location, own_token(source)
    what = {
        **({"kind": location.kind.name} if location.is_cluster_wide else {}),
        "cache": location.name,
        "claim": location.claim,
        "uri": source.service.spec.model.storage_uri,
        "container": source.fetcher.container.model_dump(mode="json", exclude_defaults=True),
        "token": token.model_dump(mode="json") if token else None,
        **({"options": source.fetcher.cache_options} if source.fetcher.cache_options else {}),
    }
    return f"{location.name[:_NAME_IN_JOB].rstrip('-')}-cache-{digest(what, 8)}"


def _labels(location: CacheLocation) -> dict[str, str]:
    return {MANAGED_LABEL: MANAGED_BY, location.label: location.name}


def _owner(resolved: ResolvedCache) -> Desired:
    meta, kind = resolved.cache.metadata, resolved.location.kind.name
    return {"apiVersion": API_VERSION, "kind": kind, "name": meta.name, "uid": meta.uid, "controller": True}
