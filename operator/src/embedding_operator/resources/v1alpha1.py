"""EmbeddingService in serving.embeddings.dev/v1alpha1: its spec. `make generate` turns these classes into a CRD.

Rules that look at more than one field, or that need a message of their own, are CEL rules here for the API server,
and are checked again in `core.checks` for manifests that never reached one.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Field, WithJsonSchema

from embedding_operator.resources.base import ApiVersion, ObjectMeta, SpecModel, cel
from embedding_operator.resources.kubernetes import (
    Name,
    Quantity,
    ResourceRequirements,
    as_text,
)

__all__ = [
    "ApiKeysSecretRef",
    "Auth",
    "Cache",
    "EmbeddingService",
    "EmbeddingServiceSpec",
    "ModelSpec",
    "Rollout",
    "RolloutStrategy",
    "StorageUri",
    "TokenSecretRef",
]

_SIZES = "^(any|[1-9][0-9]{0,8}(,[1-9][0-9]{0,8})*)$"

_Sizes = Annotated[
    str,
    BeforeValidator(as_text),
    Field(max_length=256, pattern=_SIZES),
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer"}, {"type": "string"}],
            "x-kubernetes-int-or-string": True,
            "maxLength": 256,
            "pattern": _SIZES,
        }
    ),
]
"""Numbers with commas between them, or any; YAML has a single one as a number."""


StorageUri = Annotated[
    str,
    Field(
        max_length=2048,
        json_schema_extra=cel(
            (
                "self.matches('^[a-z][a-z0-9+.-]*://[^ ]+$')",
                "a model's address is scheme://..., such as hf://owner/name",
            )
        ),
    ),
]
"""Where a model's files come from."""


class TokenSecretRef(SpecModel):
    """A key of a Secret in the service's namespace."""

    name: Name
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "HF_TOKEN"
    """The key that holds the token."""


class Cache(SpecModel):
    """A volume on which models stay, so that each is downloaded once for all pods that use the volume. Either
    persistentVolumeClaim, or size.
    """

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "has(self.persistentVolumeClaim) != has(self.size)",
                "give exactly one of persistentVolumeClaim and size",
            ),
            (
                "has(self.size) || !(has(self.storageClassName) || has(self.accessMode))",
                "storageClassName and accessMode are for a claim that the operator creates: give size",
            ),
        )
    )

    persistent_volume_claim: Name | None = None
    """A PersistentVolumeClaim in the service's namespace. Several services can share it."""
    size: Quantity | None = None
    """Size of a PersistentVolumeClaim SERVICE-cache that the operator creates, and deletes with the service. A greater
    size enlarges the claim, if its storage class allows that; a smaller one is ignored."""
    storage_class_name: Name | None = None
    """Storage class of that claim. Default: the cluster's default. A change has no effect on an existing claim."""
    access_mode: Literal["ReadWriteOnce", "ReadWriteMany"] | None = None
    """ReadWriteOnce: all pods of the service run on one node. ReadWriteMany: on any, if the storage class supports it.
    Default: ReadWriteOnce. A change has no effect on an existing claim."""


class ModelPart(SpecModel):
    """A part of the model that comes from a source of its own: an adapter, a module."""

    uri: StorageUri
    """URI of the part, as of a model. hf:// needs a commit, and oci:// a digest."""
    mount_path: Annotated[str, Field(min_length=1, max_length=512)]
    """Directory that it is downloaded into, below that of the model: /mnt/models/NAME, or NAME for short."""


class ModelSpec(SpecModel):
    """The model, and how its files are downloaded."""

    name: Annotated[str, Field(min_length=1, max_length=253)] | None = None
    """Name of the model in requests. Default: the name of the service."""
    storage_uri: StorageUri
    """URI of the model: hf://owner/name[:revision], ms://owner/name[:revision], s3://bucket/path, gs://bucket/path,
    az://container/path, oci://registry/repository[:tag], https://host/name.tar.gz[#sha256=DIGEST], pvc://claim/path,
    file:///path, or any URI that a storage container supports."""
    storage_uris: Annotated[list[ModelPart], Field(max_length=16)] = Field(default_factory=list)
    """Further parts of the model, each from its own URI: adapters, modules. The storage container of storageUri must be
    the one that matches them, too. A change creates a new revision."""
    storage_container_name: Name | None = None
    """The StorageContainer or ClusterStorageContainer that downloads the model. Default: the one that matches the URI
    best."""
    token_secret_ref: TokenSecretRef | None = None
    """Token for a private model. Only the initializer gets it. It overrides the HF_TOKEN of a storage container."""
    update_policy: Literal["Pinned", "Follow"] | None = None
    """What happens when the branch or tag in storageUri moves. Pinned: nothing; the commit that was found first stays
    until storageUri changes. Follow: the newer commit is a new revision of the service, and is rolled out. Default:
    Pinned."""
    update_interval_seconds: Annotated[int, Field(ge=60, le=2592000)] | None = None
    """Follow: seconds between two checks for a newer version. Default: 3600."""
    cache: Cache | None = None
    """Where the model stays for all pods: a Job downloads it once, and pods mount it read-only. Default: every pod
    downloads it for itself. Not for pvc:// and file://."""
    image_volume: bool | None = None
    """Whether nodes pull the model as an image and mount it, instead of an initializer that downloads it. Only for
    oci://registry/repository@sha256:DIGEST, of an image with the model in /models, on Kubernetes 1.35 or newer. A
    change creates a new revision. Default: false."""
    trust_remote_code: bool | None = None
    """Whether the model's own Python code runs, with all rights of the server: the classes that auto_map in its
    config.json and type in its modules.json name. With an hf:// URI the initializer also downloads code that these name
    in other repositories, at one commit, into remote_code/ of the model's directory; other models need it there. The
    operator's policy must allow it (policy.trustRemoteCode of the chart). Default: false. Sets the flag
    --trust_remote_code."""
    matryoshka: _Sizes | None = None
    """Sizes to which a request may truncate vectors, such as "256,512"; any: all sizes. Vectors of other requests do
    not change. Default: the sizes in the model's config.json, or in the card of a known model. Sets the flag
    --matryoshka."""
    truncate: Literal["off", "start", "end"] | None = None
    """End at which texts that are too long are truncated, unless the request overrides it. "off" (in quotes, because
    YAML reads off as false): they are rejected. With end they are truncated as in sentence-transformers, and the
    response reports it (X-Truncated). A change creates a new revision, because start and end give different vectors.
    Default: "off". Sets the flag --truncate."""


class ApiKeysSecretRef(SpecModel):
    """A key of a Secret in the service's namespace that holds API keys."""

    name: Name
    """The Secret's name."""
    key: Annotated[str, Field(min_length=1, max_length=253)] = "api-keys"
    """The key that holds the API keys, one per line: NAME KEY [TOKENS_PER_MINUTE]."""


class Auth(SpecModel):
    """Authentication of clients."""

    api_keys_secret_ref: ApiKeysSecretRef
    """The API keys. Every request needs one, except health probes and metrics scrapes. Running servers reload the
    Secret when it changes."""


class RolloutStrategy(StrEnum):
    """How a new revision takes over."""

    AUTO = "Auto"
    SURGE = "Surge"
    RECREATE = "Recreate"


class Rollout(SpecModel):
    """How a change that can affect vectors (model, backend, flags, image) replaces the serving revision."""

    strategy: RolloutStrategy = RolloutStrategy.AUTO
    """Surge: the new revision starts next to the serving one and takes over when it is ready. Recreate: the serving
    revision is scaled down first, and restored if the new one fails. Auto: Surge, then Recreate if no node has had room
    for both within surgeWaitSeconds."""
    surge_wait_seconds: Annotated[int, Field(ge=0, le=86400)] = 120
    """Auto: seconds for which pods of the new revision may be unschedulable before the serving one is scaled down."""
    progress_deadline_seconds: Annotated[int, Field(ge=10, le=86400)] = 900
    """Seconds without progress after which a new revision is removed. Downloading and loading count as progress. The
    serving revision keeps serving."""


class EmbeddingServiceSpec(SpecModel):
    """The model to serve, and how to serve it."""

    model: ModelSpec
    backend: Literal["auto", "vllm", "huggingface"] | None = None
    """Backend that computes the vectors. Default: the value of --backend in `args`, else auto: vllm if it serves the
    model exactly, else huggingface."""
    args: Annotated[list[Annotated[str, Field(max_length=4096)]], Field(max_length=64)] = Field(default_factory=list)
    """Flags of the runtime, such as --task=embed. Unknown and contradicting flags are rejected."""
    auth: Auth | None = None
    """Authentication of clients. Default: none; every client that can reach the service may use it."""
    image: Annotated[str, Field(min_length=1, max_length=1024)] | None = None
    """Image of the runtime. Default: the operator's own for the accelerator in `resources`."""
    resources: ResourceRequirements | None = None
    """Compute resources of the server container."""
    replicas: Annotated[int, Field(ge=0, le=1000)] | None = None
    """Number of server pods. Default: 1."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a new revision replaces the serving one."""


class EmbeddingService(SpecModel):
    """A text embedding model, served over HTTP with OpenAI's API."""

    model_config = ConfigDict(
        json_schema_extra=cel(
            (
                "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$')",
                "the name becomes a host name: start with a letter; then letters, digits and '-'",
            )
        )
    )

    api_version: ApiVersion
    kind: Literal["EmbeddingService"]
    metadata: ObjectMeta
    spec: EmbeddingServiceSpec
    status: Mapping[str, Any] = Field(default_factory=dict)
    """As the operator last wrote it, maybe by an older release: not looked into here."""
