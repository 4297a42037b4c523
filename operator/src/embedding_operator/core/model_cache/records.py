"""What the last status of a cache says of its models."""

from pydantic import ValidationError

from embedding_operator.core.objects import Raw
from embedding_operator.resources.model_cache import CachedModelStatus

__all__ = ["recorded"]


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
