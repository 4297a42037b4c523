"""The Job that finds the version of a service's model, or downloads it into a cache; what it is, what it reported."""

from datetime import datetime, timedelta

from embedding_operator.core import names
from embedding_operator.core.build.base import Desired, controller_of, digest
from embedding_operator.core.build.model_job import cache_command, model_job
from embedding_operator.core.build.pods import hub_variables, own_token
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.pins import Pin
from embedding_operator.core.pods import Pod
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.settings import Settings

__all__ = ["RETRY", "finding_job", "has_lost_its_result", "is_recent", "reported"]

RETRY = 300
"""Seconds for which a Job that failed stays; then it is removed, and created again. It is half of the time for which a
cache evicts nothing that was used: what a Job has found is mounted, or looked for again."""
_LOST_AFTER = timedelta(seconds=30)
"""A Job that completed this long ago, and whose pod is unknown, has lost its result."""


def finding_job(
    resolved: ResolvedService,
    commit: str | None,
    snapshot: Snapshot,
    settings: Settings,
    now: datetime,
    *,
    ttl_seconds: int,
) -> Desired:
    """Its name says what it does, since a Job cannot be changed; what a cache must keep is that of its creation.

    `commit`: the one that it is to download, if it is known. `ttl_seconds`: how long it stays when it has ended.
    """
    service, claim = resolved.service, resolved.cache_claim
    uri = resolved.uri_at(commit)
    cache = resolved.shared.cache if resolved.shared else None
    kept = cache.mounted if cache else snapshot.cached
    capacity = cache.capacity if cache else None
    options = resolved.fetcher.cache_options if claim else ()
    job = model_job(
        name="",
        namespace=service.metadata.namespace,
        labels=names.job_labels(service),
        owner=controller_of(service),
        command=cache_command(uri, kept, now, capacity=capacity, options=options) if claim else ["resolve", uri],
        settings=settings,
        ttl_seconds=ttl_seconds,
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


def reported(job: Raw, resolved: ResolvedService, snapshot: Snapshot) -> tuple[Pin, ...]:
    """What its pods report about the URI of the service."""
    uri, claim = resolved.service.spec.model.storage_uri, resolved.cache_claim
    reports = (each.downloaded for each in _pods(job, snapshot))
    return tuple(Pin.of(each, uri, claim) for each in reports if each is not None)


def is_recent(job: Raw, now: datetime) -> bool:
    """Nothing has evicted the model that the Job found: it was used within the time that caches grant. Most Jobs are
    removed before that, by the cluster's own clock; those that wait for the next check are not, nor is one that a user
    keeps for a look at it.
    """
    since, stays = _since_completion(job, now), job["spec"].get("ttlSecondsAfterFinished")
    return (stays is not None and stays <= RETRY) or since is None or since < timedelta(seconds=RETRY)


def has_lost_its_result(job: Raw, snapshot: Snapshot, now: datetime) -> bool:
    """It succeeded, and its pod has been removed."""
    since = _since_completion(job, now)
    return since is not None and since >= _LOST_AFTER and not _pods(job, snapshot)


def _since_completion(job: Raw, now: datetime) -> timedelta | None:
    """None: it has not succeeded."""
    complete = condition_of(job.get("status") or {}, "Complete")
    if complete.get("status") != "True":
        return None
    return now - datetime.fromisoformat(complete["lastTransitionTime"])


def _pods(job: Raw, snapshot: Snapshot) -> tuple[Pod, ...]:
    return tuple(each for each in snapshot.job_pods if each.revision == job["metadata"]["name"])
