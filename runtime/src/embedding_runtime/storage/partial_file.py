"""A file that arrives in parts, in any order, and its checksums, which are computed meanwhile."""

import hashlib
import os
import threading
from collections.abc import Iterable, Iterator
from io import FileIO
from pathlib import Path

from embedding_runtime.storage.source import RemoteFile

__all__ = ["PartialFile"]

_PART = 32 << 20
_BLOCK = 1 << 20
"""Bytes that are hashed at a time."""


class PartialFile:
    """Thread-safe, but for `reset`. The checksums follow the parts in the order of the file."""

    def __init__(self, file: RemoteFile, path: Path, spans: Iterable[tuple[int, int]]) -> None:
        """`spans`: what is on disk."""
        self.file, self._path = file, str(path)
        self.ranges_are_ignored = False
        """The server sends the whole file for each part."""
        self._lock = threading.Lock()
        self._spans: dict[int, int] = {}
        """What is on disk and not hashed: starts and ends."""
        self.reset()
        self._spans |= {start: stop for start, stop in spans if file.has_ranges or stop - start == file.size}

    def reset(self) -> None:
        """Forget all bytes."""
        self._spans.clear()
        self._hashed, self._is_hashing, self._is_complete = 0, False, False
        self._sha256 = hashlib.sha256()
        digest, git = self.file.digest, None
        if digest is not None and digest.algorithm == "git":
            git = hashlib.sha1(b"blob %d\0" % self.file.size, usedforsecurity=False)
        self._git = git

    @property
    def sha256(self) -> str:
        """Of the bytes up to the first that is missing."""
        return self._sha256.hexdigest()

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

    def open(self) -> FileIO:
        """For reading and writing; it is created if it is not there. Raises OSError."""
        return FileIO(os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666), "r+")

    def arrived(self, start: int, chunk: bytes) -> None:
        """A chunk of a part is on disk. If it is the next one, it is hashed: it need not be read from there."""
        with self._lock:
            if self._is_hashing or start != self._hashed or not self.file.has_ranges:
                return
            self._is_hashing = True
        self._update(chunk)
        self._hashed += len(chunk)
        self._is_hashing = False

    def add(self, start: int, stop: int) -> bool:
        """A part is on disk. Returns whether it completes the file.

        One thread hashes at a time. The others leave their parts to it, and go on.
        """
        with self._lock:
            if (begin := max(start, self._hashed)) < stop:
                self._spans[begin] = stop
            if self._is_hashing:
                return False
            self._is_hashing = True
        while True:
            with self._lock:
                end = self._spans.pop(self._hashed, None)
                if end is None:
                    self._is_hashing = False
                    completes = self._hashed == self.file.size and not self._is_complete
                    self._is_complete = self._is_complete or completes
                    return completes
            self._hash(self._hashed, end)

    def damage(self) -> str | None:
        """What is wrong with the complete file."""
        expected = self.file.digest
        if expected is None:
            return None
        found = (self._git or self._sha256).hexdigest()
        if found == expected.value:
            return None
        return f"the checksum of {self.file.path} is {expected.algorithm} {found}, but {expected.value} is listed"

    def _hash(self, start: int, stop: int) -> None:
        """A machine that ended may have lost what was not synced: the checksum is wrong then."""
        with self.open() as stream:
            stream.seek(start)
            while start < stop and (block := stream.read(min(_BLOCK, stop - start))):
                self._update(block)
                start += len(block)
        self._hashed = stop

    def _update(self, block: bytes) -> None:
        self._sha256.update(block)
        if self._git is not None:
            self._git.update(block)
