"""What the last status of a cache says of its models."""

from collections.abc import Collection
from datetime import datetime, timedelta

from pydantic import ValidationError

from embedding_operator.core.objects import Raw
from embedding_operator.resources.model_cache import CachedModelState, CachedModelStatus

__all__ = ["STAYS", "is_held", "is_listed", "kept_until", "recorded"]

STAYS = timedelta(minutes=3)
"""Time for which a model stays on the volume that a ClusterModelCache lists no longer: a service may have been planned
with it, and its Deployment is there, or has failed, within the two minutes that a reconcile may take.
"""


def recorded(status: Raw) -> dict[str, CachedModelStatus]:
    """By URI. What another release wrote and this one cannot read is left out: such a model is looked for in the cache
    again.
    """
    found = {}
    for raw in status.get("models") or ():
        try:
            record = CachedModelStatus.model_validate(raw)
        except ValidationError:
            continue
        found[record.storage_uri] = record
    return found


def kept_until(record: CachedModelStatus) -> datetime | None:
    """When a model that was removed need not stay any longer; None: it was not removed."""
    if record.state is not CachedModelState.REMOVED or record.since is None:
        return None
    return datetime.fromisoformat(record.since) + STAYS


def is_listed(record: CachedModelStatus) -> bool:
    """Services mount the model, or may be about to, by what the operator of its cache sees."""
    return record.state in {CachedModelState.READY, CachedModelState.REMOVED}


def is_held(record: CachedModelStatus, now: datetime, mounted: Collection[str]) -> bool:
    """It is listed, and has to be: one that was removed may be about to be mounted, or is."""
    until = kept_until(record)
    if until is None:
        return record.state is CachedModelState.READY
    return now < until or record.path in mounted
