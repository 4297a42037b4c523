"""What a source of models is: it lists files and reads ranges of their bytes, and nothing else.

Everything else is done once, for all sources: retries, parallel and resumed transfers, verification (`transfer`), and
the selection, the free space and the target directory (`fetch`). A source is one module in `sources/`.
"""

from collections.abc import Generator, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol

__all__ = ["Digest", "Listing", "RemoteFile", "Source", "by_path", "versions_of"]


@dataclass(frozen=True)
class Digest:
    """A checksum that a source states. `git`: git's id of a blob, a SHA-1."""

    algorithm: Literal["sha256", "git"]
    value: str
    """Lowercase hexadecimal digits."""


@dataclass(frozen=True)
class RemoteFile:
    """A file of a source, at one version."""

    path: str
    """Relative to the model's directory, with `/`."""
    size: int
    location: str
    """What the source reads the file by: a URL, a key, a path."""
    digest: Digest | None = None
    etag: str | None = None
    """Identifies the version of a file that has no digest: the source refuses to read another one."""
    has_ranges: bool = True
    """False: the source can only read the file from its beginning."""
    is_layer: bool = False
    """A tar whose files belong to the model, over those of the files before it: a layer of a container image."""


@dataclass(frozen=True)
class Listing:
    """The files of a model."""

    files: Mapping[str, RemoteFile]
    """By path."""
    version: str | None
    """The commit, or a digest with its algorithm; None if the source has none."""
    place: str
    """Where the files are, for messages: a directory, a repository at a hub."""


def by_path(files: Iterable[RemoteFile]) -> dict[str, RemoteFile]:
    """Files by path. Raises ValueError if two have the same one."""
    found: dict[str, RemoteFile] = {}
    for file in files:
        if found.setdefault(file.path, file) is not file:
            raise ValueError(f"{file.path!r} is listed twice")
    return found


def versions_of(files: Iterable[RemoteFile]) -> list[list[object]]:
    """What tells versions of files apart, for JSON."""
    return [[file.path, file.size, file.location, str(file.digest), file.etag] for file in files]


class Source(Protocol):
    """One model at one place. `read` is called from several threads."""

    about: str
    """Start of each message about the source: the URI without secrets, and a colon."""
    server: str
    """Where requests go, for messages: the URL of a hub, a directory."""

    def list(self) -> Listing:
        """Resolve the version, and list its files. Raises NoModel, Interrupted."""
        ...

    def read(self, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
        """The bytes from `start` to `stop`, in chunks. It may end early, or give more.

        Raises NoModel, Interrupted, RangeIgnored.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...
