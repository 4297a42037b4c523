"""Paths of a model in a pod, settings of initializers, and what an initializer reports.

An initializer has KServe's interface, `<image> URI DIRECTORY [URI DIRECTORY]...`, so that images of either project can
be used. Ours has two more commands, for Jobs: `resolve URI` reports the commit without a download, and
`cache URI DIRECTORY [--keep PATH,...] [--listed-at SECONDS] [--capacity BYTES] [--source NAME]` downloads into a cache.
If it fails, its last line on stderr is a verdict, `ModelNotFound: ...`; the kubelet copies that line into the
container's termination message (`terminationMessagePolicy: FallbackToLogsOnError`). If it succeeds, it may write a
`DownloadedModel` into TERMINATION_LOG, which the kubelet copies there, too. The operator reads the termination message
from the pod's status. While it downloads, it answers `GET PROGRESS_PATH` on the port that PROGRESS_PORT_VARIABLE names
with a `DownloadProgress`.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

__all__ = [
    "CACHE_DIR",
    "CACHE_PATH",
    "CODE_VARIABLE",
    "MODEL_DIR",
    "MODEL_NOTE",
    "MOST_EVICTED",
    "PROGRESS_PATH",
    "PROGRESS_PORT",
    "PROGRESS_PORT_VARIABLE",
    "PVC_ROOT",
    "REPORT_BYTES",
    "RETRY_IS_USELESS",
    "STORAGE_LIMIT_VARIABLE",
    "TERMINATION_LOG",
    "TOKEN_PATH_VARIABLE",
    "DownloadProgress",
    "DownloadVerdict",
    "DownloadedModel",
    "FailedDownload",
    "short_path",
]

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

TOKEN_PATH_VARIABLE = "HF_TOKEN_PATH"  # noqa: S105 the name of a variable
"""Environment variable of an initializer: a file with the token for the hub. Our initializer gets the token this way,
so that it is not in the environment of a process; others get HF_TOKEN."""

CACHE_DIR = PurePosixPath("/cache")
"""Mount point of a cache in a Job that downloads into it. Models are in `models/`, at `DownloadedModel.path`."""

PROGRESS_PORT_VARIABLE = "PROGRESS_PORT"
"""Environment variable of an initializer: the port on which it reports its progress; without it, it does not listen."""

PROGRESS_PORT = 8090
PROGRESS_PATH = "/progress"

STORAGE_LIMIT_VARIABLE = "EPHEMERAL_STORAGE_LIMIT"
"""Environment variable of an initializer: bytes of its node's disk above which the kubelet evicts the pod. The free
space of the volume does not show it."""

RETRY_IS_USELESS = 3
"""Exit code of an initializer: another attempt fails, too, until the URI, the credentials or the volume change."""

TERMINATION_LOG = PurePosixPath("/dev/termination-log")
"""File of a container that the kubelet copies into its termination message: Kubernetes' default."""

_Name = Annotated[str, Field(min_length=1, max_length=256)]
_Bytes = Annotated[int, Field(ge=0, lt=1 << 50)]

CACHE_PATH = r"^[a-z0-9]([a-z0-9._-]{0,118}[a-z0-9])?$"
"""The form of `DownloadedModel.path`."""

_Path = Annotated[str, Field(pattern=CACHE_PATH)]

MOST_EVICTED = 256
"""The most models in `DownloadedModel.evicted`: a ModelCache has at most 64."""

REPORT_BYTES = 4096
"""The most bytes of a report: the kubelet cuts a longer termination message."""

_ShortPath = Annotated[str, Field(pattern=r"^[0-9a-f]{8}$")]


def short_path(path: str) -> str:
    """What stands for a path of a cache in a report, which has room for hundreds of these."""
    return hashlib.sha256(path.encode()).hexdigest()[:8]


class DownloadedModel(BaseModel):
    """What an initializer reports about a model: as text, a JSON object on one line. Contains no secret.

    Fields that this release does not know are ignored, as a newer initializer may have them.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    weights_bytes: _Bytes
    """Size of the weights in its files."""
    revision: _Name | None = None
    """The downloaded commit, if it came from a hub."""
    code: Annotated[Mapping[_Name, _Name], Field(max_length=16)] = {}
    """Other repositories whose Python code was downloaded, with their commits."""
    path: _Path | None = None
    """Of `cache`: the model's directory below `models/` of the cache."""
    used_bytes: _Bytes | None = None
    """Of `cache`: what the cache takes on its volume."""
    free_bytes: _Bytes | None = None
    """Of `cache`: what further models may take without an eviction, by the volume and by `--capacity`."""
    evicted: Annotated[tuple[_ShortPath, ...], Field(max_length=MOST_EVICTED)] = ()
    """Of `cache`: the `short_path` of models that are not in the cache because they were evicted, by this command or an
    earlier one; the latest first."""

    def __str__(self) -> str:
        return self.model_dump_json(exclude_defaults=True)

    @classmethod
    def from_message(cls, text: str) -> Self | None:
        """Parse a termination message. None: it is none of this format, as from another project's initializer."""
        try:
            return cls.model_validate_json(text)
        except ValidationError:
            return None


class DownloadProgress(BaseModel):
    """The progress of a download: as text, a JSON object. Contains no secret."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    done_bytes: _Bytes
    """Downloaded bytes, including those of earlier attempts."""
    total_bytes: _Bytes
    bytes_per_second: _Bytes
    """Average of the last few seconds."""

    def __str__(self) -> str:
        return self.model_dump_json()

    @classmethod
    def from_body(cls, body: bytes) -> Self | None:
        """Parse a response. None: it is none of this format."""
        try:
            return cls.model_validate_json(body)
        except ValidationError:
            return None


class DownloadVerdict(StrEnum):
    """Why a download failed: reasons of the `ModelAvailable` condition."""

    MODEL_NOT_FOUND = "ModelNotFound"
    MODEL_UNAUTHORIZED = "ModelUnauthorized"
    DOWNLOAD_FAILED = "DownloadFailed"
    CHECKSUM_MISMATCH = "ChecksumMismatch"
    INSUFFICIENT_STORAGE = "InsufficientStorage"

    @property
    def retry_is_useless(self) -> bool:
        """Another attempt fails, too, until something is changed; the initializer exits with RETRY_IS_USELESS."""
        return self is not DownloadVerdict.DOWNLOAD_FAILED


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
