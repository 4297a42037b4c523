"""Which live objects belong to a service."""

from collections.abc import Mapping
from typing import Any

__all__ = ["is_controlled_by"]


def is_controlled_by(uid: str, live: Mapping[str, Any]) -> bool:
    """Whether the controller ownerReference of a live object has this uid. Labels prove nothing: anyone copies them."""
    owners = live["metadata"].get("ownerReferences") or ()
    return any(owner["uid"] == uid and owner.get("controller", False) for owner in owners)
