"""StorageContainer and ClusterStorageContainer: how models are fetched."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from embedding_operator.resources.base import ApiVersion, ObjectMeta, SpecModel, StatusModel, cel
from embedding_operator.resources.kubernetes import Conditions, Container

__all__ = ["ClusterStorageContainer", "Format", "StorageContainer", "StorageContainerSpec", "StorageContainerStatus"]


class Format(SpecModel):
    """Which URIs: those that begin with `prefix`, or those in which `regex` is found."""

    model_config = ConfigDict(
        json_schema_extra=cel(("has(self.prefix) != has(self.regex)", "give exactly one of prefix and regex"))
    )

    prefix: Annotated[str, Field(min_length=1, max_length=2048)] | None = None
    """How the URI begins, such as s3://bucket/."""
    regex: Annotated[str, Field(min_length=1, max_length=256)] | None = None
    """A regular expression (RE2) that matches anywhere in the URI. URIs of more than 512 characters match prefixes
    alone."""


class StorageContainerSpec(SpecModel):
    """How models are fetched."""

    container: Container
    """The initializer, merged over the built-in one."""
    supported_uri_formats: Annotated[list[Format], Field(max_length=64)] = Field(default_factory=list)
    """Which URIs it fetches. Left out: those that no other storage container claims, pvc:// and file:// excepted."""
    workload_type: Literal["initContainer", "localModelDownloadJob"] = "initContainer"
    """Services use those of type initContainer alone."""


class _AnyStorageContainer(SpecModel):
    api_version: ApiVersion
    metadata: ObjectMeta
    spec: StorageContainerSpec
    disabled: bool | None = None
    """Do not use it for any service."""
    status: Mapping[str, Any] = Field(default_factory=dict)
    """As the operator last wrote it."""


class StorageContainer(_AnyStorageContainer):
    """How models are fetched, for services in its namespace."""

    kind: Literal["StorageContainer"]


class ClusterStorageContainer(_AnyStorageContainer):
    """How models are fetched, for services in any namespace."""

    kind: Literal["ClusterStorageContainer"]


class StorageContainerStatus(StatusModel):
    """Observed state of the storage container."""

    observed_generation: int | None = None
    """Generation of the object that this status describes."""
    conditions: Conditions
    """Accepted: it can be used, and for which URIs."""
