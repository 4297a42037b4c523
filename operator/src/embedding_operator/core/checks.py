"""What is wrong with a service, all of it at once."""

from collections.abc import Mapping, Sequence
from typing import Any

from embedding_operator.settings import Settings

__all__ = ["secrets_needed"]


def secrets_needed(
    raw_service: Mapping[str, Any], storage_containers: Sequence[Mapping[str, Any]], settings: Settings
) -> frozenset[str]:
    """Names of the Secrets, in the service's namespace, whose keys `Observed.of` must be told. Raw API objects; a spec
    that cannot be read needs none."""
    raise NotImplementedError
