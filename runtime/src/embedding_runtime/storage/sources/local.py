"""file:// and pvc://: a directory of this machine, or of a claim that is mounted.

Symbolic links are followed, since a Hugging Face cache consists of them.
"""

import os
from collections.abc import Generator, Iterator, Mapping
from pathlib import Path

from embedding_runtime.contract import PVC_ROOT, DownloadVerdict, FileUri, PvcUri
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.source import Listing, RemoteFile

__all__ = ["LocalSource", "open_source"]

_BLOCK = 1 << 20


def open_source(uri: FileUri | PvcUri, _environ: Mapping[str, str]) -> "LocalSource":
    """The source for a URI."""
    return LocalSource(str(uri), Path(uri.path if isinstance(uri, FileUri) else PVC_ROOT / uri.claim / uri.path))


class LocalSource:
    """A directory."""

    def __init__(self, uri: str, directory: Path) -> None:
        self.about, self.server = f"{uri}: ", str(directory)
        self._uri, self._directory = uri, directory

    def list(self) -> Listing:
        directory = self._directory
        if not directory.is_dir():
            what = "is not a directory" if directory.exists() else "does not exist"
            raise NoModel(DownloadVerdict.MODEL_NOT_FOUND, f"{self.about}{directory} {what}")
        try:
            files = {file.path: file for file in _files(directory)}
        except OSError as error:
            raise self._cannot_read(error) from error
        return Listing(files, None, str(directory))

    def read(self, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
        try:
            with Path(file.location).open("rb", buffering=0) as stream:
                stream.seek(start)
                while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
                    start += len(block)
                    yield block
        except OSError as error:
            raise self._cannot_read(error) from error

    def close(self) -> None:
        """Nothing is open."""

    def _cannot_read(self, error: OSError) -> NoModel:
        return NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._uri} cannot be copied: {error}")


def _files(directory: Path) -> Iterator[RemoteFile]:
    """All files, sorted. The time of its last change tells versions of a file apart."""

    def fail(error: OSError) -> None:
        raise error

    for file in sorted(Path(folder) / name for folder, _, names in os.walk(directory, onerror=fail) for name in names):
        stat = file.stat()
        yield RemoteFile(file.relative_to(directory).as_posix(), stat.st_size, str(file), etag=str(stat.st_mtime_ns))
