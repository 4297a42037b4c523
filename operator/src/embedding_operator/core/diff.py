"""Whether a live object is still what was applied, without writing to find out."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

from embedding_operator.constants import APPLIED_ANNOTATION
from embedding_operator.core.quantity import amount

__all__ = ["differs", "digest", "marked"]

_AMOUNTS = {"limits", "requests"}
"""Maps of quantities, which the API server rewrites: 1000m comes back as 1."""

_LEFT_OUT: tuple[object, ...] = ("", [], {})
"""Values that the API server does not write down."""


def digest(value: object) -> str:
    """A short name for a JSON value: equal for equal ones."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


def marked(wanted: Mapping[str, Any]) -> dict[str, Any]:
    """The object with its own digest as an annotation."""
    metadata = wanted["metadata"]
    annotations = {**metadata.get("annotations", {}), APPLIED_ANNOTATION: digest(wanted)}
    return {**wanted, "metadata": {**metadata, "annotations": annotations}}


def differs(wanted: Mapping[str, Any], live: Mapping[str, Any] | None) -> bool:
    """Something that is wanted is not there, or something that was applied before is not wanted any more: the digest,
    which is among what is wanted, tells the latter.
    """
    return live is None or not _has(live, wanted)


def _has(live: Any, wanted: Any, *, amounts: bool = False) -> bool:
    """`wanted` is within `live`, which may have more: the API server's defaults, other managers' fields."""
    if isinstance(wanted, Mapping):
        return isinstance(live, Mapping) and all(
            _has(live[key], value, amounts=amounts or key in _AMOUNTS) if key in live else value in _LEFT_OUT
            for key, value in wanted.items()
        )
    if isinstance(wanted, list) and any(isinstance(each, Mapping) for each in wanted):
        return isinstance(live, Sequence) and all(any(_has(there, each) for there in live) for each in wanted)
    if amounts and isinstance(wanted, str) and isinstance(live, str):
        return amount(wanted) == amount(live)
    return bool(wanted == live)
