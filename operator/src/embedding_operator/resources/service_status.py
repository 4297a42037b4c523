"""The status of an EmbeddingService."""

from typing import Literal

from embedding_operator.resources.base import StatusModel
from embedding_operator.resources.kubernetes import Conditions

__all__ = [
    "Address",
    "CodeStatus",
    "DownloadStatus",
    "EmbeddingServiceStatus",
    "FailedRevisionStatus",
    "ModelStatus",
    "RevisionStatus",
    "StorageStatus",
]


class CodeStatus(StatusModel):
    """Python code of the model that was downloaded from another repository."""

    repository: str
    """The repository."""
    revision: str
    """Its commit."""


class DownloadStatus(StatusModel):
    """Progress of the download."""

    bytes: int
    """Bytes that are there."""
    total_bytes: int | None = None
    """Size of the download, if it is known."""
    percent: int | None = None
    """Part of the download that is there, rounded down."""
    bytes_per_second: int
    """Rate of the last few seconds."""
    seconds_left: int | None = None
    """Time that the rest takes at this rate."""
    slow: bool | None = None
    """Whether the download has been slow, which an Event (SlowDownload) reported once: the rest would take longer than
    spec.rollout.progressDeadlineSeconds, or the rate was below 1 MB/s with more than a minute left."""


class ModelStatus(StatusModel):
    """The served model."""

    name: str
    """Name of the model in requests."""
    revision: str | None = None
    """The commit or digest of the model, if its initializer or Job reports it, or nodes mount its image."""
    code: list[CodeStatus] | None = None
    """Other repositories whose Python code was downloaded (spec.model.trustRemoteCode)."""
    download: DownloadStatus | None = None
    """Progress of the download, at most a few seconds old; absent when no pod of the starting revision downloads, or
    when the operator cannot reach the pods. Of several pods, it is that of the one with the least, which is the last to
    be ready."""


class StorageStatus(StatusModel):
    """The storage container that downloads the model."""

    kind: Literal["StorageContainer", "ClusterStorageContainer", "BuiltIn"]
    """Kind of the storage container; BuiltIn when none matches the URI, or nothing is downloaded (imageVolume)."""
    name: str | None = None
    """Its name."""
    chosen_by: str | None = None
    """The rule that chose it: a prefix, a regex, spec.model.storageContainerName, or the catch-all."""


class Address(StatusModel):
    """The URL of the service, in the form of Knative's addressable types."""

    url: str
    """The URL."""


class FailedRevisionStatus(StatusModel):
    """A revision that was removed because it failed. It is retried when its pod template changes."""

    revision: str
    """The revision."""
    reason: str
    """Reason of its removal."""
    message: str
    """Description of its failure."""
    model: str | None = None
    """The version of the model, as the operator records it."""
    template: str | None = None
    """Digest of the pod template that failed."""


class RevisionStatus(StatusModel):
    """The revisions of the service. A revision is a hash of everything that can affect vectors."""

    serving: str | None = None
    """The revision that answers requests."""
    candidate: str | None = None
    """The revision that is starting without traffic."""
    generation: int | None = None
    """The generation of the spec that was last rolled out, or is being rolled out."""
    failed: FailedRevisionStatus | None = None
    """The revision of the spec, if it failed."""


class EmbeddingServiceStatus(StatusModel):
    """Observed state of the service."""

    observed_generation: int | None = None
    """Generation of the spec that this status describes."""
    url: str | None = None
    """URL of the service inside the cluster."""
    address: Address | None = None
    """The URL in the form of Knative's addressable types."""
    manager: str | None = None
    """The operator that manages the service: namespace/name of its Lease."""
    backend: str | None = None
    """Backend that computes the vectors. If the spec says auto: what the servers selected from the model's files, or
    auto while that is not known."""
    backend_reason: str | None = None
    """Why this backend was selected. For auto, the reason that the servers report, or where to ask for it."""
    revision: RevisionStatus | None = None
    """Which revision serves, which is starting, and which failed."""
    model: ModelStatus | None = None
    """The served model."""
    storage_container: StorageStatus | None = None
    """The storage container that downloads the model."""
    replicas: int
    """Number of pods."""
    ready_replicas: int
    """Number of ready pods."""
    selector: str | None = None
    """Label selector of the pods, for the scale subresource."""
    conditions: Conditions
    """Ready summarizes the others: Accepted (the spec is valid), ModelAvailable (the model's files are downloaded),
    Available (requests are answered, possibly by the previous version). MemoryTooSmall is a warning."""
