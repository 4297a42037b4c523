"""Paths of a model in a pod, a setting of initializers, and the format of an initializer's error.

An initializer has KServe's interface, `<image> URI DIRECTORY`, so that images of either project can be used.
Its last line on stderr is a verdict, `ModelNotFound: ...`; the kubelet copies that line into the container's
termination message (`terminationMessagePolicy: FallbackToLogsOnError`), and the operator reads it there.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self

__all__ = ["CODE_VARIABLE", "MODEL_DIR", "MODEL_NOTE", "PVC_ROOT", "DownloadVerdict", "FailedDownload"]

MODEL_DIR = PurePosixPath("/mnt/models")
"""Directory of the model. Its parent is the volume: the initializer renames a complete directory to it."""

MODEL_NOTE = "embedding-model.json"
"""File that the initializer adds to a model: `{"uri": the requested URI, "revision": the downloaded commit}`, and
`"code": {repository: commit}` if it downloaded Python code from other repositories."""

CODE_VARIABLE = "TRUST_REMOTE_CODE"
"""Environment variable of an initializer: `true` if the Python code that the model's files name in other repositories
is to be downloaded, too."""

PVC_ROOT = PurePosixPath("/pvc")
"""Mount point of claims: `pvc://CLAIM/PATH` is PVC_ROOT/CLAIM/PATH."""


class DownloadVerdict(StrEnum):
    """Why a download failed: reasons of the `ModelAvailable` condition."""

    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    DOWNLOAD_FAILED = "DownloadFailed"


@dataclass(frozen=True)
class FailedDownload:
    """A verdict and its message: the request, the response and what to change. Contains no secret."""

    verdict: DownloadVerdict
    message: str

    def __str__(self) -> str:
        return f"{self.verdict}: {' '.join(self.message.split())}"

    @classmethod
    def from_log(cls, log: str) -> Self:
        """Parse the last line of a log. If it is not a verdict, return DownloadFailed with that line."""
        last = next(
            (line.strip() for line in reversed(log.splitlines()) if line.strip()), "the initializer logged nothing"
        )
        reason, _, message = last.partition(": ")
        if reason in set(DownloadVerdict) and message:
            return cls(DownloadVerdict(reason), message)
        return cls(DownloadVerdict.DOWNLOAD_FAILED, last)
