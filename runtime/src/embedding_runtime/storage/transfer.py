"""Transfers files of a source to a directory: in parallel, resumed, retried, verified, with bounded memory.

A file is transferred in parts. A broken part is resumed where it broke, and the journal has what is on disk, so that
the next process resumes, too. SHA-256 is computed as the parts arrive, from the page cache.
"""

import hashlib
import threading
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.journal import Journal
from embedding_runtime.storage.progress import Meter
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.source import RemoteFile, Source

if TYPE_CHECKING:
    from hashlib import _Hash

__all__ = ["Transfer", "missing_bytes"]

_PARALLEL = 8
"""Parts that are transferred at a time."""

_PART = 32 << 20
_BLOCK = 1 << 20
"""Bytes that are hashed at a time."""

_RECORD = 4 << 20
"""Bytes after which the journal is written: a killed process loses at most as many of each part."""


def missing_bytes(files: Iterable[RemoteFile], journal: Journal) -> int:
    """The size of what is not on disk."""
    return sum(file.size - sum(stop - start for start, stop in journal.spans(file.path)) for file in files)


@dataclass(frozen=True)
class Transfer:
    """A transfer of files from one source."""

    source: Source
    into: Path
    journal: Journal
    meter: Meter
    retries: Retries

    def run(self, files: Iterable[RemoteFile]) -> dict[str, str]:
        """Transfer and verify files. Returns their SHA-256 by path. Raises NoModel, and OSError of the disk."""
        states = [_State(file, self.into / file.path, self.journal.spans(file.path)) for file in files]
        with ThreadPoolExecutor(_PARALLEL, "transfer") as pool:
            parts = [pool.submit(self._part, state, *part) for state in states for part in state.missing()]
            try:
                for part in as_completed(parts):
                    part.result()
            except BaseException:
                self.retries.cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return {state.file.path: state.sha256.hexdigest() for state in states}

    def _part(self, state: "_State", start: int, stop: int) -> None:
        """Transfer a part. The last part of a file verifies it; a damaged file is transferred once more."""
        self._read(state, start, stop)
        if not state.add(start, stop):
            return
        damaged = False

        def verified() -> None:
            nonlocal damaged
            if damaged:
                self._read(state, 0, state.file.size)
                state.add(0, state.file.size)
            problem = state.damage()
            if problem is not None:
                self.journal.forget(state.file.path)
                if damaged:
                    raise self._mismatch(f"{problem}, twice")
                damaged = True
                self.meter.add(-state.file.size)
                state.reset()
                raise Interrupted(problem)

        self.retries.run(verified, self.source)

    def _read(self, state: "_State", start: int, stop: int) -> None:
        """Read a range into the file."""
        file, position = state.file, start
        ended: int | None = None

        def attempt() -> None:
            nonlocal position, ended
            if not file.has_ranges:
                self.meter.add(start - position)
                position = start
            recorded = position
            with state.path.open("r+b", buffering=0) as out, closing(_chunks(self.source, file, position, stop)) as got:
                out.seek(position)
                try:
                    for chunk in got:
                        if self.retries.cancelled.is_set():
                            raise CancelledError
                        _write(out, chunk)
                        position += len(chunk)
                        self.meter.add(len(chunk))
                        if position - recorded >= _RECORD:
                            self.journal.add(file.path, recorded, position)
                            recorded = position
                finally:
                    self.journal.add(file.path, recorded, position)
            if position < stop:
                if ended == position:
                    raise self._mismatch(f"{file.path} has {position} bytes, but {file.size} are listed, twice")
                ended = position
                raise Interrupted(f"{file.path} ended after {position} of {stop} bytes")

        if start < stop:
            self.retries.run(attempt, self.source, lambda: position)

    def _mismatch(self, problem: str) -> NoModel:
        remedy = "upload the file again, or find out what changes it on its way"
        return NoModel(DownloadVerdict.CHECKSUM_MISMATCH, f"{self.source.about}{problem}: {remedy}")


def _write(out: FileIO, chunk: bytes) -> None:
    rest = memoryview(chunk)
    while rest:
        rest = rest[out.write(rest) :]


def _chunks(source: Source, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
    """The bytes of a range, and no more. A source that is exhausted can use its connection again."""
    left = stop - start
    with closing(source.read(file, start, stop)) as chunks:
        for chunk in chunks:
            if left < len(chunk):
                if left:
                    yield chunk[:left]
                return
            yield chunk
            left -= len(chunk)


class _State:
    """A file in transfer. Its hashes follow the parts in order."""

    def __init__(self, file: RemoteFile, path: Path, spans: Iterable[tuple[int, int]]) -> None:
        """Create the file with its final size, unless it is there. Raises OSError."""
        self.file, self.path = file, path
        self._lock = threading.Lock()
        self._spans: dict[int, int] = {}
        self.reset()
        self._spans |= {start: stop for start, stop in spans if file.has_ranges or stop - start == file.size}
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as out:
            out.truncate(file.size)

    def reset(self) -> None:
        """Forget all bytes."""
        self._spans.clear()
        self._hashed, self._is_complete = 0, False
        self.sha256 = hashlib.sha256()
        digest, git = self.file.digest, None
        if digest is not None and digest.algorithm == "git":
            git = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)
        self._git = git

    def missing(self) -> Iterator[tuple[int, int]]:
        """The parts to transfer: an empty one if there is nothing to do but to verify."""
        position, size = 0, self.file.size
        part = _PART if self.file.has_ranges else max(size, 1)
        any_missing = False
        for start, stop in [*sorted(self._spans.items()), (size, size)]:
            for begin in range(position, start, part):
                any_missing = True
                yield begin, min(begin + part, start)
            position = stop
        if not any_missing:
            yield size, size

    def add(self, start: int, stop: int) -> bool:
        """A part is on disk. Returns whether it completes the file."""
        with self._lock:
            if start < stop:
                self._spans[start] = stop
            while (end := self._spans.pop(self._hashed, None)) is not None:
                self._hash(self._hashed, end)
                self._hashed = end
            completes = self._hashed == self.file.size and not self._is_complete
            self._is_complete = self._is_complete or completes
            return completes

    def damage(self) -> str | None:
        """What is wrong with the complete file."""
        expected = self.file.digest
        if expected is None:
            return None
        found = self._hasher.hexdigest()
        if found == expected.value:
            return None
        return f"the checksum of {self.file.path} is {expected.algorithm} {found}, but {expected.value} is listed"

    @property
    def _hasher(self) -> "_Hash":
        return self._git or self.sha256

    def _hash(self, start: int, stop: int) -> None:
        with self.path.open("rb", buffering=0) as stream:
            stream.seek(start)
            while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
                self.sha256.update(block)
                if self._git is not None:
                    self._git.update(block)
                start += len(block)
