"""Raw objects of the API: references to them, and what their metadata and conditions say."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from embedding_operator.constants import REVISION_LABEL, TEMPLATE_ANNOTATION
from embedding_operator.kinds import Kind, kind_of

__all__ = [
    "LEGACY",
    "ObjectRef",
    "Raw",
    "condition_of",
    "is_controlled_by",
    "kind_ref",
    "revision_of",
    "template_digest",
]

Raw = Mapping[str, Any]
"""An object as the API has it, maybe trimmed by the store: metadata, spec and what plans need of status."""

LEGACY = "legacy"
"""Revision of the one Deployment that releases before revisions made: it carries no revision label."""


@dataclass(frozen=True)
class ObjectRef:
    """One object of the API. With a UID it is that very object, not another of the same name."""

    api_version: str
    kind: str
    namespace: str | None
    name: str
    uid: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.namespace}/{self.name}" if self.namespace else f"{self.kind} {self.name}"


def kind_ref(raw: Raw) -> Kind:
    """The kind of a raw object. Raises KeyError for one that the operator does not touch."""
    return kind_of(raw["apiVersion"], raw["kind"])


def revision_of(raw: Raw) -> str:
    """The revision that a Deployment or pod belongs to."""
    revision: str = (raw["metadata"].get("labels") or {}).get(REVISION_LABEL, LEGACY)
    return revision


def is_controlled_by(raw: Raw, uid: str) -> bool:
    """Its controller, by ownerReference, is the object of that UID."""
    return any(each.get("controller") and each["uid"] == uid for each in raw["metadata"].get("ownerReferences") or ())


def condition_of(status: Raw, kind: str) -> Raw:
    """One condition of a status, as it is in the API; empty when there is none of that type."""
    return next((each for each in status.get("conditions") or () if each.get("type") == kind), {})


def template_digest(template: Raw) -> str | None:
    """The digest that a pod template carries; None: it is of a release before digests."""
    digest: str | None = (template["metadata"].get("annotations") or {}).get(TEMPLATE_ANNOTATION)
    return digest
