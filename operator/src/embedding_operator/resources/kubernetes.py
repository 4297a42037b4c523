"""The parts of Kubernetes' own types that our resources take: real fields, so that a misspelt one is refused."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from embedding_operator.resources.base import SpecModel, StatusModel, cel

__all__ = [
    "Condition",
    "Conditions",
    "Container",
    "EnvVar",
    "EnvVarSource",
    "KeyRef",
    "Name",
    "Quantity",
    "ResourceRequirements",
    "as_text",
]

Name = Annotated[
    str,
    Field(min_length=1, max_length=253, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$"),
]
"""Of an object, as Kubernetes has them. It becomes a part of a path at the API server: ../ would lead elsewhere."""

_QUANTITY = r"^[0-9]+(\.[0-9]+)?([numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]+)?$"


def as_text(given: object) -> object:
    """A number as text: YAML has `1` as one."""
    return str(given) if isinstance(given, int) and not isinstance(given, bool) else given


Quantity = Annotated[
    str,
    BeforeValidator(as_text),
    Field(pattern=_QUANTITY),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "pattern": _QUANTITY,
        }
    ),
]
"""As Kubernetes writes amounts: 1, "500m", 2Gi."""


class ResourceRequirements(SpecModel):
    """Limits and requests of a container, as in a pod."""

    limits: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """Upper bounds. Accelerators are requested here, such as nvidia.com/gpu: "1"."""
    requests: Annotated[dict[str, Quantity], Field(max_length=32)] = Field(default_factory=dict)
    """What the scheduler reserves. Default: the limits."""


class KeyRef(SpecModel):
    """A key of a Secret or ConfigMap in the service's namespace."""

    name: Name
    """The object's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)]
    """The key in it."""
    optional: bool | None = None
    """Start without the variable when the object or the key is missing."""


class _FieldRef(SpecModel):
    """A field of the pod."""

    api_version: str | None = None
    """Version of the schema of the path; default v1."""
    field_path: Annotated[str, Field(min_length=1)]
    """Path of the field, such as metadata.name."""


class EnvVarSource(SpecModel):
    """Where a variable's value comes from."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "[has(self.secretKeyRef), has(self.configMapKeyRef), has(self.fieldRef)].exists_one(given, given)",
                "give exactly one of secretKeyRef, configMapKeyRef and fieldRef",
            )
        )
    )

    secret_key_ref: KeyRef | None = None
    """A key of a Secret."""
    config_map_key_ref: KeyRef | None = None
    """A key of a ConfigMap."""
    field_ref: _FieldRef | None = None
    """A field of the pod."""


class EnvVar(SpecModel):
    """An environment variable."""

    model_config = ConfigDict(
        json_schema_extra=cel(("!(has(self.value) && has(self.valueFrom))", "give value or valueFrom, not both"))
    )

    name: Annotated[str, Field(min_length=1, max_length=256)]
    """Its name."""
    value: Annotated[str, Field(max_length=32768)] | None = None
    """Its value."""
    value_from: EnvVarSource | None = None
    """Where its value comes from, instead of `value`."""


class Container(SpecModel):
    """The fields of a container that a storage container may set."""

    name: Annotated[str, Field(max_length=63)] | None = None
    """Accepted for compatibility with KServe and ignored: the container is always called storage-initializer."""
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """The initializer's image. It is called with two arguments, the URI and the directory to fill."""
    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When the image is pulled."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = Field(default_factory=list)
    """Arguments to put before the two."""
    env: Annotated[list[EnvVar], Field(max_length=64)] = Field(default_factory=list)
    """Environment variables, merged by name over the built-in initializer's."""
    resources: ResourceRequirements | None = None
    """What the initializer may use, merged by name over the built-in initializer's."""


class Condition(StatusModel):
    """A condition of the resource, as Kubernetes defines them."""

    type: str
    """Name of the condition, such as Ready."""
    status: Literal["True", "False", "Unknown"]
    """Whether the condition holds."""
    reason: str
    """Why, as a word in CamelCase. docs/status.md lists them."""
    message: str
    """What happened, and what to do about it."""
    last_transition_time: Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]
    """When `status` last changed."""
    observed_generation: int | None = None
    """The metadata.generation of the spec that the condition is about."""
    severity: str | None = None
    """Warning: the service works in spite of it."""


Conditions = Annotated[
    list[Condition],
    Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["type"]}),
]
"""The conditions of a status: one of each type."""
