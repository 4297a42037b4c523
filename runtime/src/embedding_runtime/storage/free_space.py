"""Whether a download fits: on its volume, and below what the kubelet lets the pod take of its node's disk."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from embedding_runtime.contract import STORAGE_LIMIT_VARIABLE, DownloadVerdict, ModelUri
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.inventory import bytes_in
from embedding_runtime.storage.progress import megabytes

__all__ = ["FreeSpace"]


@dataclass(frozen=True)
class FreeSpace:
    """The free space of a directory. What is in `counted` counts against `limit`, in bytes; None: there is no limit."""

    directory: Path
    counted: Path
    limit: int | None

    @classmethod
    def of(cls, directory: Path, counted: Path, uri: ModelUri, environ: Mapping[str, str]) -> "FreeSpace":
        """With the limit in the environment. Raises NoModel."""
        text = environ.get(STORAGE_LIMIT_VARIABLE, "")
        if text and not text.isdecimal():
            message = f"{uri}: {STORAGE_LIMIT_VARIABLE} is {text!r}, which is not a whole number of bytes"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)
        return cls(directory, counted, int(text) if text else None)

    def check(self, about: str, needed: int) -> None:
        """Raises NoModel if so many bytes more do not fit, and OSError of the disk. `about` begins its message."""
        free = shutil.disk_usage(self.directory).free
        needs = f"{about}it needs {megabytes(needed)}"
        if free < needed:
            message = f"{needs}, but the volume has {megabytes(free)} free: enlarge the volume"
            raise NoModel(DownloadVerdict.INSUFFICIENT_STORAGE, message)
        if self.limit is None:
            return
        left = max(self.limit - bytes_in(self.counted), 0)
        if left < needed:
            limit = f"{megabytes(left)} are left of the pod's {megabytes(self.limit)} of ephemeral-storage"
            raise NoModel(DownloadVerdict.INSUFFICIENT_STORAGE, f"{needs}, but {limit}: raise that limit")
