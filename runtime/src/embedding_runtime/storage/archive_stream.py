"""The decompressed bytes of a tar, for tarfile: read forwards, within limits of size and memory."""

from collections.abc import Iterator
from typing import IO

__all__ = ["BadArchive", "ForwardStream"]

_LARGEST_READ = 16 << 20
"""tarfile reads headers at once: a hostile one has gigabytes."""

_HEADER = 512
_SKIPPED = 1 << 20


class BadArchive(Exception):
    """The archive is damaged or hostile. Within this package the message goes on after its name."""


class ForwardStream:
    """As much of a file as tarfile needs."""

    def __init__(self, raw: IO[bytes], most: int) -> None:
        """`most`: bytes of the members; headers and padding are allowed twice as many, and some."""
        self._raw, self._position = raw, 0
        self._most = 3 * most + _LARGEST_READ
        self._last = b""

    def read(self, size: int) -> bytes:
        """As many bytes, but at the end."""
        if size > _LARGEST_READ:
            raise BadArchive(f"has a header of {size} bytes")
        blocks, left = [], size
        while left and (block := self._raw.read(left)):
            blocks.append(block)
            left -= len(block)
        self._last = b"".join(blocks)
        self._position += len(self._last)
        if self._position > self._most:
            raise BadArchive(f"unpacks to more than {self._most} bytes, headers included")
        return self._last

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        """Forwards alone; a header with a negative size would lead back, and never end."""
        if position < self._position:
            raise BadArchive("has a header that leads back")
        while (left := position - self._position) and self.read(min(left, _SKIPPED)):
            pass
        return self._position

    def blocks(self, size: int, block_size: int) -> Iterator[bytes]:
        """The content of a member."""
        while size:
            block = self.read(min(size, block_size))
            if not block:
                raise BadArchive("is truncated")
            size -= len(block)
            yield block

    def finish(self) -> None:
        """Read to the end, where the compression has its checksum. Raises BadArchive if the tar had no end."""
        if len(self._last) < _HEADER or self._last.strip(b"\0"):
            raise BadArchive("is truncated: its end is missing")
        while self.read(_SKIPPED):
            pass
