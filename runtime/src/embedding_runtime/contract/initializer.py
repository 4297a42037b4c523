"""Where a model lies in a pod, and how an initializer that failed says why.

An initializer is called as KServe calls its own, `<image> URI DIRECTORY`, so that either side's images can be used.
Its last line on stderr is a verdict, `ModelNotFound: ...`; the kubelet copies that line into the container's
termination message (`terminationMessagePolicy: FallbackToLogsOnError`), and the operator reads it there.
"""

from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Self

__all__ = ["MODEL_DIR", "MODEL_NOTE", "PVC_ROOT", "DownloadVerdict", "FailedDownload"]

MODEL_DIR = PurePosixPath("/mnt/models")
"""Where the server finds the model. Its parent is the volume: the initializer renames a whole directory to it."""

MODEL_NOTE = "embedding-model.json"
"""File that our initializer puts among a model's: `{"uri": what was asked for, "revision": the commit that came}`."""

PVC_ROOT = PurePosixPath("/pvc")
"""`pvc://CLAIM/PATH` is read from PVC_ROOT/CLAIM/PATH."""


class DownloadVerdict(StrEnum):
    """Why there is no model: the reasons of the `ModelAvailable` condition."""

    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    DOWNLOAD_FAILED = "DownloadFailed"


@dataclass(frozen=True)
class FailedDownload:
    """One verdict and its words: what was asked for, what came back, what to change. Holds no secret."""

    verdict: DownloadVerdict
    message: str

    def __str__(self) -> str:
        return f"{self.verdict}: {' '.join(self.message.split())}"

    @classmethod
    def from_log(cls, log: str) -> Self:
        """The verdict in a log's last line; a foreign initializer's log is a DownloadFailed with its last line."""
        last = next(
            (line.strip() for line in reversed(log.splitlines()) if line.strip()), "the initializer said nothing"
        )
        reason, _, message = last.partition(": ")
        if reason in set(DownloadVerdict) and message:
            return cls(DownloadVerdict(reason), message)
        return cls(DownloadVerdict.DOWNLOAD_FAILED, last)
