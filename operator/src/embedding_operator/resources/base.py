"""What the models of all resources share: strictness, camelCase, metadata, and CEL rules for the CRD."""

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, JsonValue
from pydantic.alias_generators import to_camel

__all__ = ["ApiVersion", "ObjectMeta", "SpecModel", "StatusModel", "cel"]

ApiVersion = Literal["serving.embeddings.dev/v1alpha1"]
"""constants.API_VERSION, which a Literal cannot name."""


class SpecModel(BaseModel):
    """A part of a resource that a person writes: camelCase, no unknown field. Docstrings become descriptions."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True, validate_by_name=False
    )


class StatusModel(BaseModel):
    """A part of a status, that the operator writes: made by name in code, dumped in camelCase."""

    model_config = ConfigDict(
        alias_generator=to_camel, extra="forbid", frozen=True, use_attribute_docstrings=True, validate_by_name=True
    )

    def to_dict(self) -> dict[str, Any]:
        """As the API has it: what is None is left out."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)


class ObjectMeta(BaseModel):
    """The metadata that the operator reads; the rest is Kubernetes' business."""

    model_config = ConfigDict(alias_generator=to_camel, extra="ignore", frozen=True)

    name: str
    namespace: str | None = None
    uid: str | None = None
    generation: int | None = None
    deletion_timestamp: datetime | None = None


def cel(*rules: tuple[str, str]) -> dict[str, JsonValue]:
    """`json_schema_extra` with CEL rules, each as (rule, message)."""
    return {"x-kubernetes-validations": [{"rule": rule, "message": message} for rule, message in rules]}
