"""The input of every builder, and what all built objects have in common."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from embedding_operator.constants import API_VERSION, APPLIED_ANNOTATION
from embedding_operator.core import names
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.rollout import Rollout
from embedding_operator.kinds import Kind
from embedding_operator.resources.v1alpha1 import EmbeddingService

__all__ = ["Blueprint", "Builder", "Desired", "controller_of", "digest", "marked", "metadata"]

Desired = dict[str, Any]
"""A complete object as it is to be, with the digest of itself as an annotation."""


@dataclass(frozen=True)
class Blueprint:
    """What the children of a service follow from. `template`: the pod template of the desired revision. `job`: the one
    that finds its model, `claim`: that of its own cache, both complete.
    """

    service: ResolvedService
    template: Mapping[str, Any]
    rollout: Rollout
    job: Desired | None = None
    claim: Desired | None = None


class Builder(Protocol):
    """Builds the objects of one kind. A child of that kind that is not yielded is not wanted, and is deleted."""

    kind: Kind

    def __call__(self, blueprint: Blueprint, /) -> Iterable[Desired]:
        """Any number of objects."""
        ...


def digest(value: object, length: int = 16) -> str:
    """A short name for a JSON value, in hexadecimal: the same for equal values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:length]


def marked(desired: Desired) -> Desired:
    """The object with its digest as an annotation, by which a later plan detects that a field was removed from it."""
    meta = desired["metadata"]
    annotations = {**meta.get("annotations", {}), APPLIED_ANNOTATION: digest(desired)}
    return {**desired, "metadata": {**meta, "annotations": annotations}}


def metadata(resolved: ResolvedService, name: str | None = None, labels: Mapping[str, str] | None = None) -> Desired:
    """Name (default: the service's), namespace, labels and the controller reference of a child."""
    meta = resolved.service.metadata
    result: Desired = {
        "name": name or meta.name,
        "namespace": meta.namespace,
        "labels": {**names.labels(resolved.service), **(labels or {})},
    }
    if (owner := controller_of(resolved.service)) is not None:
        result["ownerReferences"] = [owner]
    return result


def controller_of(service: EmbeddingService) -> Desired | None:
    """The reference of a child to the service. A service from a file has no UID, and owns nothing yet."""
    meta = service.metadata
    if meta.uid is None:
        return None
    owner = {"apiVersion": API_VERSION, "kind": "EmbeddingService", "name": meta.name, "uid": meta.uid}
    return {**owner, "controller": True}
