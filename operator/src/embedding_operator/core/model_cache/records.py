"""What the last status of a cache says of its models."""

from datetime import datetime, timedelta

from pydantic import ValidationError

from embedding_operator.core.objects import Raw
from embedding_operator.resources.model_cache import CachedModelState, CachedModelStatus

__all__ = ["STAYS", "held_paths", "kept_until", "recorded"]

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


def held_paths(status: Raw, now: datetime) -> frozenset[str]:
    """The paths of the models that services may be about to mount."""
    held = (
        each
        for each in recorded(status).values()
        if each.state is CachedModelState.READY or ((until := kept_until(each)) is not None and now < until)
    )
    return frozenset(each.path for each in held if each.path)
