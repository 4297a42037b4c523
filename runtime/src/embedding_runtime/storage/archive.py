"""Unpacks an archive that may be hostile: tar, tar.gz, tar.zst, zip.

Only files and directories are unpacked, to names that lead nowhere else; links, devices and sparse files are refused.
The number of files, their size, and the ratio of compression are limited, and so is the memory that a header can ask
for. All errors of an archive are BadArchive.
"""

import gzip
import hashlib
import stat
import tarfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Self, cast

from backports import zstd

from embedding_runtime.storage.archive_stream import BadArchive, ForwardStream
from embedding_runtime.storage.names import bad_name

__all__ = ["BadArchive", "Limits", "is_archive", "model_members", "unpack"]

_BLOCK = 1 << 20
_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.zst", ".tzst", ".zip")
_UNLIMITED_RATIO = 64 << 20
"""Bytes that even a small archive may unpack to."""


@dataclass(frozen=True)
class Limits:
    """What an archive may unpack to."""

    files: int = 10_000
    size: int = 200 << 30
    """Bytes of all files."""
    ratio: int = 100
    """Size of all files by the size of the archive."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read ARCHIVE_MAX_FILES, ARCHIVE_MAX_SIZE (bytes), ARCHIVE_MAX_RATIO. Raises ValueError with the variable."""
        given = {}
        for name in ("files", "size", "ratio"):
            variable = f"ARCHIVE_MAX_{name.upper()}"
            if text := environ.get(variable, "").strip():
                if not text.isdecimal() or int(text) == 0:
                    raise ValueError(f"{variable}={text} is not a positive whole number")
                given[name] = int(text)
        return cls(**given)


def is_archive(name: str) -> bool:
    """Whether a file is an archive, by its name."""
    return name.lower().endswith(_SUFFIXES)


def unpack(
    archive: Path, into: Path, limits: Limits, is_wanted: Callable[[str], bool] = lambda _: True
) -> Mapping[str, str]:
    """Unpack an archive to a directory. Returns SHA-256 by path. Raises BadArchive, and OSError of the disk.

    `is_wanted`: by the path in a tar; others are skipped, whatever they are.
    """
    output = _Output(into, limits, archive.stat().st_size)
    is_zip = archive.name.lower().endswith(".zip")
    members = _zip_members(archive, output) if is_zip else _tar_members(archive, output, is_wanted)
    with _errors_in_words(archive.name):
        for name, content in members:
            output.write(name, content)
    return output.sha256


class _Output:
    """Writes files within limits."""

    def __init__(self, into: Path, limits: Limits, packed: int) -> None:
        self.sha256: dict[str, str] = {}
        self._into, self._limits = into, limits
        self.most = min(limits.size, max(limits.ratio * packed, _UNLIMITED_RATIO))
        """Bytes that the archive may unpack to."""
        self._size = self._count = 0
        self._spelling: dict[str, tuple[str, bool]] = {}
        """Of each path, without its case: how it is written, and whether it is a file."""

    def check(self, name: str, *, is_file: bool) -> str:
        """The path of a member, relative to the directory. Raises BadArchive for a name that must not be written."""
        self._count += 1
        if self._count > self._limits.files:
            raise BadArchive(f"has more than {self._limits.files} files: raise ARCHIVE_MAX_FILES to allow them")
        path = name.removeprefix("./").rstrip("/") if not name.startswith("/") else name
        if not is_file and path in ("", "."):
            return ""
        if (problem := bad_name(path)) is not None:
            raise BadArchive(f"has a member {name[:200]!r} whose name {problem}")
        parts = path.split("/")
        for length in range(1, len(parts) + 1):
            self._claim("/".join(parts[:length]), is_file=is_file and length == len(parts))
        return path

    def write(self, path: str, content: Iterable[bytes]) -> None:
        """Write a file. Raises BadArchive when it gets too large."""
        target, sha256 = self._into / path, hashlib.sha256()
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("xb") as out:
            for block in content:
                self._size += len(block)
                if self._size > self.most:
                    raise BadArchive(
                        f"unpacks to more than {self.most} bytes: raise ARCHIVE_MAX_SIZE ({self._limits.size} bytes) "
                        f"or ARCHIVE_MAX_RATIO ({self._limits.ratio} times its own size) to allow it"
                    )
                out.write(block)
                sha256.update(block)
        self.sha256[path] = sha256.hexdigest()

    def _claim(self, path: str, *, is_file: bool) -> None:
        key = unicodedata.normalize("NFC", path).casefold()
        written, was_file = self._spelling.setdefault(key, (path, is_file))
        if written != path:
            raise BadArchive(f"has {written!r} and {path!r}, which are one file where case does not count")
        if was_file and is_file and path in self.sha256:
            raise BadArchive(f"has {path!r} twice")
        if was_file != is_file:
            raise BadArchive(f"has {path!r} as a file and as a directory")


@contextmanager
def _errors_in_words(archive: str) -> Iterator[None]:
    """Turn the libraries' errors into BadArchive, with the archive's name."""
    try:
        with _errors_of_libraries():
            yield
    except BadArchive as error:
        raise BadArchive(f"{archive} {error}") from error


@contextmanager
def _errors_of_libraries() -> Iterator[None]:
    try:
        yield
    except (gzip.BadGzipFile, tarfile.TarError, zipfile.BadZipFile, zlib.error, zstd.ZstdError, ValueError) as error:
        raise BadArchive(f"is damaged, or not of the format that its name says ({error})") from error
    except EOFError as error:
        raise BadArchive("is truncated") from error
    except RecursionError as error:
        raise BadArchive("has headers that are nested too deep") from error
    except (NotImplementedError, RuntimeError) as error:  # methods and encryption that zipfile does not have
        raise BadArchive(f"cannot be read: {error}") from error


_TYPES = {
    tarfile.SYMTYPE: "a symbolic link",
    tarfile.LNKTYPE: "a hard link",
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a pipe",
}


def _tar_members(
    archive: Path, output: _Output, is_wanted: Callable[[str], bool]
) -> Iterator[tuple[str, Iterator[bytes]]]:
    name = archive.name.lower()
    with archive.open("rb") as packed:
        if name.endswith((".gz", ".tgz")):
            raw = cast("IO[bytes]", gzip.GzipFile(fileobj=packed))
        elif name.endswith((".zst", ".tzst")):
            raw = cast("IO[bytes]", zstd.ZstdFile(packed))
        else:
            raw = packed
        stream = ForwardStream(raw, output.most)
        with tarfile.open(fileobj=cast("IO[bytes]", stream), mode="r:") as tar:
            for member in tar:
                if not is_wanted(member.name.removeprefix("./")):
                    continue
                if not (member.isdir() or member.isreg()) or member.issparse():
                    what = "a sparse file" if member.issparse() else _TYPES.get(member.type, "of an unknown type")
                    raise BadArchive(f"has a member {member.name[:200]!r} that is {what}: only files are unpacked")
                path = output.check(member.name, is_file=member.isreg())
                if member.isreg():
                    yield path, stream.blocks(member.size, _BLOCK)
        stream.finish()


def _zip_members(archive: Path, output: _Output) -> Iterator[tuple[str, Iterator[bytes]]]:
    _check_directory(archive)
    with zipfile.ZipFile(archive) as packed:
        for member in packed.infolist():
            name, kind = member.orig_filename, stat.S_IFMT(member.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a symbolic link" if kind == stat.S_IFLNK else "neither a file nor a directory"
                raise BadArchive(f"has a member {name[:200]!r} that is {what}: only files are unpacked")
            if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise BadArchive(f"has a member {name[:200]!r} that is not deflated: pack it with deflate")
            path = output.check(name, is_file=not member.is_dir())
            if not member.is_dir():
                with packed.open(member) as stream:
                    yield path, iter(partial(stream.read, _BLOCK), b"")


_END = b"PK\5\6"
_END_SIZE = 22
_LONGEST_COMMENT = 1 << 16
_LARGEST_DIRECTORY = 16 << 20


def _check_directory(archive: Path) -> None:
    """Refuse a directory that is too large to read, as zipfile does at once. Raises BadArchive."""
    with archive.open("rb") as stream:
        size = stream.seek(0, 2)
        stream.seek(max(size - _END_SIZE - _LONGEST_COMMENT, 0))
        tail = stream.read()
    at = tail.rfind(_END)
    directory = int.from_bytes(tail[at + 12 : at + 16], "little") if at >= 0 else 0
    if directory > _LARGEST_DIRECTORY:
        raise BadArchive(f"has a directory of {directory} bytes: at most {_LARGEST_DIRECTORY} are read; use a tar")


def model_members(paths: Iterable[str]) -> dict[str, str]:
    """The members of an archive by their paths in the model, which is at its top or in its only directory."""
    visible = [path for path in paths if not path.startswith((".", "__MACOSX/"))]
    tops = {path.partition("/")[0] for path in visible}
    prefix = f"{tops.pop()}/" if len(tops) == 1 and all("/" in path for path in visible) else ""
    return {path.removeprefix(prefix): path for path in visible}
