"""Transfers files of a source to a directory: in parallel, resumed, retried, verified, with bounded memory.

A file is transferred in parts. A broken part is resumed where it broke, and the journal has what is on disk, so that
the next process resumes, too. SHA-256 is computed as the parts arrive, from the page cache.
"""

from collections.abc import Generator, Iterable
from concurrent.futures import CancelledError, ThreadPoolExecutor, as_completed
from contextlib import closing
from dataclasses import dataclass, replace
from io import FileIO
from pathlib import Path

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import Interrupted, NoModel, RangeIgnored
from embedding_runtime.storage.journal import Journal
from embedding_runtime.storage.partial_file import PartialFile
from embedding_runtime.storage.progress import Meter
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.source import RemoteFile, Source

__all__ = ["Transfer", "missing_bytes"]

_PARALLEL = 8
"""Parts that are transferred at a time."""

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
        partial = [self._partial(file) for file in files]
        for directory in {each.file.path.rpartition("/")[0] for each in partial}:
            (self.into / directory).mkdir(parents=True, exist_ok=True)
        self._transfer(partial)
        # Each part of such a file would be sent as the whole file.
        whole = [self._partial(self._as_a_whole(each.file)) for each in partial if each.ranges_are_ignored]
        self._transfer(whole)
        return {each.file.path: each.sha256 for each in [*partial, *whole]}

    def _partial(self, file: RemoteFile) -> PartialFile:
        return PartialFile(file, self.into / file.path, self.journal.spans(file.path))

    def _as_a_whole(self, file: RemoteFile) -> RemoteFile:
        """Forget what has arrived of the file."""
        self.meter.add(missing_bytes([file], self.journal) - file.size)
        self.journal.forget(file.path)
        return replace(file, has_ranges=False)

    def _transfer(self, partial: Iterable[PartialFile]) -> None:
        """Transfer and verify what is missing of the files, but for those whose ranges are ignored."""
        with ThreadPoolExecutor(_PARALLEL, "transfer") as pool:
            parts = [pool.submit(self._part, each, *part) for each in partial for part in each.missing()]
            try:
                for part in as_completed(parts):
                    part.result()
            except BaseException:
                self.retries.cancelled.set()
                pool.shutdown(wait=False, cancel_futures=True)
                raise

    def _part(self, into: PartialFile, start: int, stop: int) -> None:
        if into.ranges_are_ignored:
            return
        try:
            self._transfer_part(into, start, stop)
        except RangeIgnored:
            into.ranges_are_ignored = True

    def _transfer_part(self, into: PartialFile, start: int, stop: int) -> None:
        """Transfer a part. The last part of a file verifies it; a damaged file is transferred once more."""
        if into.file.size == 0:
            into.open().close()
        self._read(into, start, stop)
        if not into.add(start, stop):
            return
        damaged = False

        def verified() -> None:
            nonlocal damaged
            if damaged:
                self._read(into, 0, into.file.size)
                into.add(0, into.file.size)
            problem = into.damage()
            if problem is not None:
                self.journal.forget(into.file.path)
                if damaged:
                    raise self._mismatch(f"{problem}, twice")
                damaged = True
                self.meter.add(-into.file.size)
                into.reset()
                raise Interrupted(problem)

        self.retries.run(verified, self.source)

    def _read(self, into: PartialFile, start: int, stop: int) -> None:
        """Read a range into the file."""
        file, position = into.file, start
        ended: int | None = None

        def attempt() -> None:
            nonlocal position, ended
            if not file.has_ranges:
                self.meter.add(start - position)
                position = start
            recorded = position
            with into.open() as out, closing(_chunks(self.source, file, position, stop)) as got:
                out.seek(position)
                try:
                    for chunk in got:
                        if self.retries.cancelled.is_set():
                            raise CancelledError
                        _write(out, chunk)
                        into.arrived(position, chunk)
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
