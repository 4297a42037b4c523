"""The resources for models that are downloaded in advance into a volume which many pods mount."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, WithJsonSchema

from embedding_operator.resources.base import ApiVersion, ObjectMeta, SpecModel, StatusModel, cel
from embedding_operator.resources.kubernetes import Conditions, Name, Quantity
from embedding_operator.resources.service_status import DownloadStatus
from embedding_operator.resources.v1alpha1 import StorageUri, TokenSecretRef

__all__ = [
    "CacheCapacityStatus",
    "CachedModel",
    "CachedModelState",
    "CachedModelStatus",
    "ClusterModelCache",
    "ClusterModelCacheSpec",
    "ModelCache",
    "ModelCacheSpec",
    "ModelCacheStatus",
]

_MOST_MODELS = 64
_NAMESPACE = r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"

_Time = Annotated[str, WithJsonSchema({"type": "string", "format": "date-time"})]


class CachedModel(SpecModel):
    """A model to download."""

    storage_uri: StorageUri
    """URI of the model, as in an EmbeddingService. A branch or tag of a hub is resolved to a commit once: the cache
    does not follow it."""
    storage_container_name: Name | None = None
    """The StorageContainer or ClusterStorageContainer whose variables and resources the download has. Default: the one
    that matches the URI best."""
    token_secret_ref: TokenSecretRef | None = None
    """Token for a private model. Only the download gets it; services that use the cache need none."""


class _CacheSpec(SpecModel):
    """What both kinds have."""

    capacity: Quantity | None = None
    """Bytes that the models may take in all, if that is less than the volume has."""
    parallelism: Annotated[int, Field(ge=1, le=16)] = 2
    """Models that are downloaded at a time."""
    models: Annotated[
        list[CachedModel],
        Field(
            max_length=_MOST_MODELS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["storageUri"]},
        ),
    ] = Field(default_factory=list)
    """The models to download, in this order. A model that is removed here keeps its files until their room is
    needed."""


class ModelCacheSpec(_CacheSpec):
    """The volume, and the models to have on it."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.persistentVolumeClaim) != has(self.size)",
                "give exactly one of persistentVolumeClaim (a claim that exists) and size (of a claim to create)",
            ),
            (
                "!has(self.persistentVolumeClaim) || !(has(self.storageClassName) || has(self.accessMode))",
                "storageClassName and accessMode go with size, not with persistentVolumeClaim",
            ),
        )
    )

    persistent_volume_claim: Name | None = None
    """A PersistentVolumeClaim of the namespace to download into. Either this or `size`."""
    size: Quantity | None = None
    """Size of a PersistentVolumeClaim that is created with the name of the cache, and deleted with it as soon as no pod
    uses it. It may grow, if the storage class allows that."""
    storage_class_name: Name | None = None
    """Storage class of the claim that is created. Default: the cluster's default class."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """Of the claim that is created. ReadWriteOnce: all pods that use the cache run on one node. ReadWriteMany: on any,
    if the storage class supports it. Default: ReadWriteOnce."""


class ClusterVolume(SpecModel):
    """One volume behind claims of one name in several namespaces."""

    claim_name: Name
    """A PersistentVolumeClaim in `namespace`, and in each namespace whose services use the cache; all of them must lead
    to the same volume. There, services mount it read-only. Choose a name that is used for nothing else, such as
    shared-models: an EmbeddingService or ModelCache there that names the claim as its own cache is rejected."""


class ClusterModelCacheSpec(_CacheSpec):
    """The volume, the models to have on it, and the namespaces whose services may use them."""

    namespace: Annotated[
        str,
        Field(
            pattern=_NAMESPACE,
            max_length=63,
            json_schema_extra=cel(("self == oldSelf", "it cannot change: create another ClusterModelCache")),
        ),
    ]
    """The namespace of the Jobs that download, with the claim that they write to, and the Secrets of the models."""
    volume: ClusterVolume
    """Where the models are."""
    allowed_namespaces: Annotated[
        list[Annotated[str, Field(pattern=rf"{_NAMESPACE}|^\*$", max_length=63)]],
        Field(max_length=1000, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """The namespaces whose services may mount the models; `*` stands for all."""


class _AnyModelCache(SpecModel):
    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.metadata.name.matches('^[a-z0-9]([-a-z0-9]*[a-z0-9])?$')",
                "the name becomes a label: letters, digits and '-' alone",
            )
        )
    )

    api_version: ApiVersion
    metadata: ObjectMeta
    status: Mapping[str, Any] = Field(default_factory=dict)
    """As the operator last wrote it, maybe by another release: `core.model_cache.records` reads it."""


class ModelCache(_AnyModelCache):
    """Models that are downloaded into a volume, once for all pods of the namespace."""

    kind: Literal["ModelCache"]
    spec: ModelCacheSpec


class ClusterModelCache(_AnyModelCache):
    """Models that are downloaded into a volume, once for all pods of several namespaces."""

    kind: Literal["ClusterModelCache"]
    spec: ClusterModelCacheSpec


class CachedModelState(StrEnum):
    """How far a model of a cache is."""

    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    READY = "Ready"
    FAILED = "Failed"
    EVICTED = "Evicted"
    REMOVED = "Removed"


class CachedModelStatus(StatusModel):
    """One model of the cache."""

    storage_uri: str
    """Its URI in the spec. A user with a password, and a query, are ***, with a digest of the URI."""
    state: CachedModelState
    """Pending, Downloading, Ready, Failed (the download is tried again at retryAt, or by itself), or Evicted: other
    models needed its room; it is downloaded again when the spec changes. Of a ClusterModelCache also Removed: the spec
    does not list it, and it is not evicted yet, since that was less than three minutes ago, or Deployments mount it."""
    revision: str | None = None
    """The commit, if it came from a hub."""
    path: str | None = None
    """Its directory below models/ of the volume."""
    bytes: int | None = None
    """Size of its weights."""
    reason: str
    """Why it is in this state, as a word in CamelCase."""
    message: str
    """What happened, and what to do about it."""
    download: DownloadStatus | None = None
    """Progress of the download, while it runs and its pod can be asked."""
    job: str | None = None
    """The Job that downloaded it. Jobs are removed minutes after they have ended."""
    since: _Time | None = None
    """When it became Ready, Failed, Evicted or Removed."""
    retry_at: _Time | None = None
    """When a download that failed for good is tried again, unless the spec changes before."""


class CacheCapacityStatus(StatusModel):
    """What the volume held when the last download ended."""

    used_bytes: int | None = None
    """Size of all models on the volume, those of other caches and services included."""
    free_bytes: int | None = None
    """What further models may take without an eviction."""
    used: str | None = None
    """usedBytes in a readable unit."""
    free: str | None = None
    """freeBytes in a readable unit."""


class ModelCacheStatus(StatusModel):
    """Observed state of the cache."""

    observed_generation: int | None = None
    """Generation of the spec that this status describes."""
    manager: str | None = None
    """The operator that manages the cache: namespace/name of its Lease."""
    claim: str | None = None
    """The PersistentVolumeClaim."""
    ready: str | None = None
    """How many of the models are ready, such as 3/4."""
    models: Annotated[
        list[CachedModelStatus],
        Field(json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["storageUri"]}),
    ]
    """The models of the spec, in its order, then those that were removed from it and are not evicted yet."""
    capacity: CacheCapacityStatus | None = None
    """What the volume held when the last download ended."""
    conditions: Conditions
    """Ready (all models are ready), Reconciling and Stalled, by kstatus's rules."""
