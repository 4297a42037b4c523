"""A directory of models that processes share: its layout, and its locks.

models/PATH     a complete model, which never changes: it is renamed into its place, and out of it; never a link
.staging/PATH   an unfinished one; the next writer continues it
.locks/PATH     is locked while a process writes or removes PATH; its text says which one
.used/PATH      was touched when the model was used last, or when it was evicted
.removed/       models on their way out

The kernel, or the server of the file system, releases the lock of a process that was killed.
"""

import errno
import fcntl
import os
import secrets
import shutil
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TextIO

from embedding_runtime.contract import MODEL_NOTE, DownloadedModel
from embedding_runtime.storage.note import is_whole
from embedding_runtime.storage.progress import megabytes, progress
from embedding_runtime.storage.report import describe

__all__ = ["Cache", "Entry"]

_ACCOUNTING = ".accounting"
"""The lock of the one process that counts and removes; no path begins with a dot."""

_OWN = "@"
"""Between a path and the process that writes there without a lock."""

_NO_LOCKS = frozenset({errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP})
_ABANDONED_SECONDS = 86400
"""On file systems without locks, an unfinished model counts as abandoned after this time without a change."""


@dataclass(frozen=True)
class Entry:
    """Something that may be removed."""

    path: str
    size: int
    idle: float
    """Seconds since its last use."""
    is_unfinished: bool = False


class Cache:
    """The cache in a directory."""

    def __init__(self, root: Path, say: Callable[[str], None], seconds: float = 60) -> None:
        """Create what is missing. `seconds`: between log lines of a process that waits. Raises OSError."""
        self.root, self._say, self._seconds = root, say, seconds
        self.models, self.staging = root / "models", root / ".staging"
        self._locks, self._used, self._removed = root / ".locks", root / ".used", root / ".removed"
        for directory in (self.models, self.staging, self._locks, self._used, self._removed):
            directory.mkdir(parents=True, exist_ok=True)
        self._sweep()

    @contextmanager
    def lock(self, path: str) -> Iterator[Path]:
        """Wait until no other process writes this path. Yields the directory for the unfinished model. Raises OSError.

        Where the file system has no locks, it is this process's own directory, and the first one to be done wins.
        """
        file, me = self._lock_file(path), f"{socket.gethostname()}-{os.getpid()}"
        with _open_lock(file) as stream:
            is_locked = _try_lock(stream)
            if is_locked is None:
                self._say(f"the file system of {self.root} has no locks: other processes may download {path}, too")
                yield self.staging / f"{path}{_OWN}{me}"
                return
            if not is_locked:
                self._say(_waiting(file))
                with progress(lambda: self._say(_waiting(file)), self._seconds):
                    fcntl.flock(stream, fcntl.LOCK_EX)
            with suppress(OSError):  # the text is for people; the volume may be full, and room is made later
                file.write_text(f"{me}, since {datetime.now(UTC):%F %T} UTC")
            if (self.staging / path).is_symlink():  # a pod of somebody else put it there
                (self.staging / path).unlink()
            yield self.staging / path

    def use(self, path: str) -> DownloadedModel | None:
        """The complete model, which counts as used now; None if there is none. Needs its lock. Raises OSError."""
        directory = self.models / path
        found = self._find(path)
        if found is not None:
            (self._used / path).touch()
        elif os.path.lexists(directory) and (directory.is_symlink() or not _is_empty(directory)):
            self._say(f"{directory} is not a complete model: it is removed")
            self._discard(directory)
        return found

    def publish(self, staging: Path, path: str) -> DownloadedModel:
        """Move a complete model into its place. Raises OSError."""
        _flush(staging / "model")
        try:
            (staging / "model").rename(self.models / path)
        except OSError as error:
            if error.errno not in (errno.EEXIST, errno.ENOTEMPTY) or self._find(path) is None:
                raise
            self._say(f"another process has downloaded {path} meanwhile")
        found = self.use(path)
        if found is None:
            raise FileNotFoundError(
                errno.ENOENT, "the model was removed as soon as it was there", str(self.models / path)
            )
        return found

    @contextmanager
    def accounting(self) -> Iterator[None]:
        """One process at a time counts, removes and reserves. Raises OSError."""
        with _open_lock(self._lock_file(_ACCOUNTING)) as stream:
            if _try_lock(stream) is False:
                fcntl.flock(stream, fcntl.LOCK_EX)
            yield

    def clock(self) -> float:
        """The time of the file system, which may be a server's."""
        self._lock_file(_ACCOUNTING).touch()
        return self._lock_file(_ACCOUNTING).stat().st_mtime

    def last_used(self, path: str) -> float:
        """When a complete model was used, by that clock. Raises OSError."""
        used = self._used / path
        return (used if used.exists() else self.models / path).stat().st_mtime

    def evicted(self) -> list[str]:
        """The paths of models that were here and were evicted, the latest first. Raises OSError."""
        gone = [each for each in self._used.iterdir() if not (self.models / each.name).exists()]
        return [each.name for each in sorted(gone, key=lambda each: -each.stat().st_mtime)]

    def unfinished(self) -> list[Path]:
        """The directories of unfinished models. Raises OSError."""
        return [each for each in self.staging.iterdir() if each.name[0].isalnum()]

    def is_abandoned(self, staging: Path) -> bool:
        """No process writes it."""
        with _open_lock(self._lock_file(staging.name)) as stream:
            is_locked = _try_lock(stream)
        if is_locked is None or _OWN in staging.name:
            return self.clock() - staging.stat().st_mtime > _ABANDONED_SECONDS
        return is_locked

    def remove(self, entry: Entry) -> bool:
        """Remove an entry, unless it is in use again, or cannot be removed."""
        directory = (self.staging if entry.is_unfinished else self.models) / entry.path
        try:
            with _open_lock(self._lock_file(entry.path)) as stream:
                if _try_lock(stream) is False or self._is_used_since(entry):
                    return False
                self._discard(directory)
                if not entry.is_unfinished:
                    (self._used / entry.path).touch()
        except OSError as error:
            self._say(f"{directory} cannot be removed: {error}")
            return False
        what = "an unfinished download" if entry.is_unfinished else f"last used {entry.idle / 3600:.1f} hours ago"
        self._say(f"removed {entry.path} to make room: {megabytes(entry.size)}, {what}")
        return True

    def _lock_file(self, path: str) -> Path:
        return self._locks / path.partition(_OWN)[0]

    def _find(self, path: str) -> DownloadedModel | None:
        directory = self.models / path
        if directory.is_symlink() or not (directory / MODEL_NOTE).is_file() or not is_whole(directory):
            return None
        try:
            return describe(directory, path)
        except ValueError:
            return None

    def _discard(self, directory: Path) -> None:
        """Readers see all of a directory, or nothing. Raises OSError."""
        directory.rename(self._removed / f"{directory.name}.{secrets.token_hex(4)}")
        self._sweep()

    def _sweep(self) -> None:
        for each in list(self._removed.iterdir()):
            if each.is_dir():
                shutil.rmtree(each, ignore_errors=True)
            else:
                each.unlink(missing_ok=True)

    def _is_used_since(self, entry: Entry) -> bool:
        return not entry.is_unfinished and self.clock() - self.last_used(entry.path) < entry.idle


def _is_empty(directory: Path) -> bool:
    """A kubelet makes such directories for mounts."""
    return directory.is_dir() and not any(directory.iterdir())


def _open_lock(file: Path) -> TextIO:
    """Open or create a file to lock. Raises OSError for a link or a pipe, which somebody else may have put there."""
    flags = os.O_RDWR | os.O_CREAT | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.fdopen(os.open(file, flags, 0o666), "r+")


def _try_lock(stream: TextIO) -> bool | None:
    """Lock a file until it is closed. False: another process has it. None: the file system has no locks."""
    try:
        fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            raise
        return None
    return True


def _waiting(file: Path) -> str:
    return f"waiting for {file.read_text() or 'another process'}, which downloads {file.name}, too"


def _flush(directory: Path) -> None:
    """A node that crashes must not leave a model in its place whose files are not written."""
    for path in directory.rglob("*"):
        if path.is_file():
            with path.open("rb") as stream:
                os.fsync(stream.fileno())
