"""The reasons of conditions: the words that dashboards, scripts and people rely on."""

from enum import StrEnum

__all__ = ["PROGRESS", "Reason"]


class Reason(StrEnum):
    """Why a condition is as it is. The kubelet's own words (CreateContainerError, ...) may stand beside these."""

    ACCEPTED = "Accepted"
    INVALID_SPEC = "InvalidSpec"
    SECRET_NOT_FOUND = "SecretNotFound"  # noqa: S105 a reason, not a password
    SECRET_NOT_ALLOWED = "SecretNotAllowed"  # noqa: S105 a reason, not a password
    STORAGE_CONTAINER_NOT_FOUND = "StorageContainerNotFound"
    STORAGE_CONTAINER_UNREADABLE = "StorageContainerUnreadable"
    POLICY_VIOLATION = "PolicyViolation"
    UNKNOWN_ACCELERATOR = "UnknownAccelerator"
    NAME_TAKEN = "NameTaken"
    DENIED = "Denied"
    NOT_ACCEPTED = "NotAccepted"
    DISABLED = "Disabled"

    DOWNLOADED = "Downloaded"
    AVAILABLE = "Available"
    READY = "Ready"

    PENDING = "Pending"
    DOWNLOADING = "Downloading"
    LOADING = "Loading"
    ROLLING_OUT = "RollingOut"
    SCALED_TO_ZERO = "ScaledToZero"

    PROGRESS_DEADLINE_EXCEEDED = "ProgressDeadlineExceeded"
    ROLLED_BACK = "RolledBack"

    UNSCHEDULABLE = "Unschedulable"
    PODS_REFUSED = "PodsRefused"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    DOWNLOAD_FAILED = "DownloadFailed"
    OUT_OF_MEMORY = "OutOfMemory"
    RUNTIME_FAILED = "RuntimeFailed"


PROGRESS = frozenset({Reason.PENDING, Reason.DOWNLOADING, Reason.LOADING, Reason.ROLLING_OUT, Reason.SCALED_TO_ZERO})
"""Not ready, and nothing is wrong."""
