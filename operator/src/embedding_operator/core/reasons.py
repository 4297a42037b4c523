"""The reasons of conditions, each with its description: dashboards, scripts and people rely on these words.

docs/status.md is generated from here. The order is that of a service's life: of two problems the earlier is reported.
"""

from enum import StrEnum
from typing import Self

__all__ = ["PROGRESS", "WAITING", "Group", "Reason"]


class Group(StrEnum):
    """What kind of reason it is; the sections of docs/status.md."""

    HEALTHY = "Healthy"
    SPEC = "The spec is rejected"
    WAITING = "Waiting for another object"
    API = "The Kubernetes API refused or did not answer"
    PROGRESS = "On its way"
    PODS = "The pods cannot be created or scheduled"
    MODEL = "The model cannot be downloaded"
    SERVER = "The server does not run"
    ROLLOUT = "A rollout failed"
    WARNING = "Warnings"


class Reason(StrEnum):
    """Reasons of conditions. Those of the kubelet (CreateContainerError, ...) may stand beside these."""

    group: Group
    description: str

    def __new__(cls, value: str, group: Group = Group.API, description: str = "") -> Self:
        """`Reason(value)` finds the member."""
        member = str.__new__(cls, value)
        member._value_, member.group, member.description = value, group, description
        return member

    READY = ("Ready", Group.HEALTHY, "All replicas answer requests and run the current spec.")
    ACCEPTED = ("Accepted", Group.HEALTHY, "The spec is valid.")
    DOWNLOADED = ("Downloaded", Group.HEALTHY, "At least one pod has the model's files.")
    AVAILABLE = ("Available", Group.HEALTHY, "At least one replica answers requests.")
    RECONCILED = ("Reconciled", Group.HEALTHY, "Nothing is left to do: Reconciling and Stalled are False.")
    PROGRESSING = ("Progressing", Group.HEALTHY, "Stalled is False because the service is progressing.")
    SCALED_TO_ZERO = ("ScaledToZero", Group.HEALTHY, "Nothing runs because spec.replicas is 0.")

    INVALID_SPEC = (
        "InvalidSpec",
        Group.SPEC,
        ("The spec has errors, such as an unknown flag; the message lists all of them. What ran before keeps running."),
    )
    POLICY_VIOLATION = (
        "PolicyViolation",
        Group.SPEC,
        (
            "The operator's settings do not allow something in the spec, such as an image or remote code. Change the "
            "spec, or ask the administrator of the operator."
        ),
    )
    SECRET_NOT_ALLOWED = (  # a reason, not a password
        "SecretNotAllowed",
        Group.SPEC,
        "The operator's settings require a label on Secrets that services may use, and this Secret lacks it.",
    )
    UNKNOWN_ACCELERATOR = (
        "UnknownAccelerator",
        Group.SPEC,
        "The operator's settings have no runtime image for the accelerator in spec.resources.",
    )
    NAMESPACE_NOT_WATCHED = (
        "NamespaceNotWatched",
        Group.SPEC,
        (
            "Of a ClusterModelCache: the operator watches some namespaces only, and not one that the spec names. Add "
            "it to watchNamespaces of the chart, or remove it from the spec."
        ),
    )
    DISABLED = ("Disabled", Group.SPEC, "The storage container is disabled: no service uses it.")
    NOT_ACCEPTED = ("NotAccepted", Group.SPEC, "Not known, because the spec is rejected.")

    SECRET_NOT_FOUND = (  # a reason, not a password
        "SecretNotFound",
        Group.WAITING,
        "A Secret, or a key of it, does not exist. Create it: the service continues by itself.",
    )
    STORAGE_CONTAINER_NOT_FOUND = (
        "StorageContainerNotFound",
        Group.WAITING,
        "No storage container has that name, or none downloads such a URI. Create it: the service continues by itself.",
    )
    STORAGE_CONTAINER_UNREADABLE = (
        "StorageContainerUnreadable",
        Group.WAITING,
        "The storage container of the service has an error. The service stays as it is until that is corrected.",
    )
    TERMINATING = (
        "Terminating",
        Group.WAITING,
        "The service, or objects of a deleted service of the same name, are being deleted.",
    )

    NAME_TAKEN = (
        "NameTaken",
        Group.API,
        (
            "An object with a name that the service needs has another owner, so it is not touched. Rename the "
            "service, delete that object, or let the service adopt it."
        ),
    )
    FIELD_OVERRIDDEN = (
        "FieldOverridden",
        Group.API,
        "An admission webhook or another controller repeatedly changes a field that the operator sets.",
    )
    CONFLICTING_MANAGER = (
        "ConflictingManager",
        Group.API,
        "Two operators manage the service. Neither writes until one of them is removed or their namespaces differ.",
    )
    DENIED = (
        "Denied",
        Group.API,
        (
            "The API server refused a write: a missing right, a quota, an admission webhook or an invalid object. The "
            "message has its words."
        ),
    )
    FORBIDDEN = (
        "Forbidden",
        Group.API,
        "The operator's service account lacks a right. The chart's roles have it.",
    )
    QUOTA_EXCEEDED = (
        "QuotaExceeded",
        Group.API,
        "A quota of the namespace has no room for an object. Raise it, or free some of it.",
    )
    WEBHOOK_DENIED = (
        "WebhookDenied",
        Group.API,
        "An admission webhook refused an object. Change what it rejects, or ask its owner.",
    )
    NAMESPACE_TERMINATING = (
        "NamespaceTerminating",
        Group.API,
        "The namespace is being deleted, and the service with it.",
    )
    RETRYING = (
        "Retrying",
        Group.API,
        "A call failed and is retried: a timeout, a failing webhook, too many requests, a conflict.",
    )
    OPERATOR_BUG = (
        "OperatorBug",
        Group.API,
        "The operator has a bug that this service triggers. Its log has the traceback; please report it.",
    )

    PENDING = ("Pending", Group.PROGRESS, "Objects or pods are being created.")
    RESOLVING = (
        "Resolving",
        Group.PROGRESS,
        "A Job finds out which commit the model's branch is at, or which digest its tag.",
    )
    DOWNLOADING = ("Downloading", Group.PROGRESS, "The initializer is downloading the model, or the node its image.")
    LOADING = ("Loading", Group.PROGRESS, "The server is loading the model.")
    ROLLING_OUT = ("RollingOut", Group.PROGRESS, "Pods of the previous version are being replaced or removed.")

    PODS_REFUSED = (
        "PodsRefused",
        Group.PODS,
        "The cluster refuses to create pods: a quota, a limit range, Pod Security or an admission webhook.",
    )
    VOLUME_NOT_FOUND = (
        "VolumeNotFound",
        Group.PODS,
        "The PersistentVolumeClaim of spec.model.storageUri or spec.model.cache does not exist.",
    )
    VOLUME_NOT_BOUND = ("VolumeNotBound", Group.PODS, "The PersistentVolumeClaim has no volume yet.")
    UNSCHEDULABLE = ("Unschedulable", Group.PODS, "No node has what the pod requests, such as a GPU or memory.")
    VOLUME_NOT_MOUNTED = ("VolumeNotMounted", Group.PODS, "The kubelet cannot attach or mount a volume of the pod.")
    NODE_LOST = ("NodeLost", Group.PODS, "The node of the pod has stopped reporting.")
    IMAGE_PULL_FAILED = ("ImagePullFailed", Group.PODS, "The kubelet cannot pull an image.")

    MODEL_NOT_FOUND = ("ModelNotFound", Group.MODEL, "The hub, bucket, web server or volume has no such model.")
    MODEL_UNAUTHORIZED = (
        "ModelUnauthorized",
        Group.MODEL,
        "The source refuses access: no credentials, or not the right ones.",
    )
    DOWNLOAD_FAILED = ("DownloadFailed", Group.MODEL, "The download failed; it is retried. The message has the cause.")
    CHECKSUM_MISMATCH = (
        "ChecksumMismatch",
        Group.MODEL,
        "A file is not what its source lists: its size or digest differs, in two downloads.",
    )
    INSUFFICIENT_STORAGE = (
        "InsufficientStorage",
        Group.MODEL,
        (
            "The model does not fit on the volume, below the pod's limit of ephemeral-storage, or in the cache beside "
            "models that are in use."
        ),
    )
    EVICTED = (
        "Evicted",
        Group.MODEL,
        "Of a ModelCache: other models needed the room. It is downloaded again when the spec changes.",
    )

    OUT_OF_MEMORY = ("OutOfMemory", Group.SERVER, "A container used more memory than its limit, or than its node has.")
    RUNTIME_FAILED = (
        "RuntimeFailed",
        Group.SERVER,
        "The server exited or was killed; the message has its last log lines.",
    )
    NOT_READY = (
        "NotReady",
        Group.SERVER,
        "A server that was ready has stopped answering its readiness probe.",
    )

    ROLLED_BACK = (
        "RolledBack",
        Group.ROLLOUT,
        "The new version ran in place of the previous one and did not become ready: the previous one is back.",
    )
    PROGRESS_DEADLINE_EXCEEDED = (
        "ProgressDeadlineExceeded",
        Group.ROLLOUT,
        "The pods have not become ready within spec.rollout.progressDeadlineSeconds. The message says why.",
    )

    MEMORY_TOO_SMALL = (
        "MemoryTooSmall",
        Group.WARNING,
        (
            "The server's memory limit is lower than what it needs under load, so that it may be killed "
            "(`OutOfMemory`). Raise spec.resources.limits.memory as the message says."
        ),
    )


PROGRESS = frozenset({*(each for each in Reason if each.group is Group.PROGRESS), Reason.SCALED_TO_ZERO})
"""Not ready, and nothing is wrong."""

WAITING = frozenset(each for each in Reason if each.group is Group.WAITING)
"""Reasons that may resolve without a change of the service."""
