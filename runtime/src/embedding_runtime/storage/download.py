"""Downloads the files of a listing to a temporary directory, and puts the note with their digests beside them."""

import errno
import os
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import monotonic
from typing import Any

from embedding_runtime.contract import DownloadVerdict, HuggingFaceUri, ModelUri
from embedding_runtime.git_lfs import pointer_problem
from embedding_runtime.storage.archive import BadArchive, Limits, model_members, unpack
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.journal import Journal, plan_of
from embedding_runtime.storage.layers import unpack_layers
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.note import read_note, write_note
from embedding_runtime.storage.progress import Meter, megabytes, progress
from embedding_runtime.storage.report import is_origin
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import is_packed, select, select_files
from embedding_runtime.storage.source import Listing, RemoteFile, Source
from embedding_runtime.storage.transfer import Transfer, missing_bytes

__all__ = ["Download", "errors_of_the_disk"]


@dataclass
class Download:
    """One download to the subdirectory `model` of a temporary directory."""

    uri: ModelUri
    source: Source
    staging: Path
    log: Log
    retries: Retries
    make_room: Callable[[int], None]
    """Make sure that so many bytes fit on the volume. Raises NoModel."""
    show: Callable[[Meter], None]
    """Gets the meter of each transfer."""
    is_part: bool = False
    """It may be less than a model: an adapter, a module."""
    _began: float = field(default_factory=monotonic, init=False)
    _sha256: dict[str, str] = field(default_factory=dict, init=False)
    """Of each file of the model."""
    _transferred: int = field(default=0, init=False)
    _codes: Mapping[str, str] = field(default_factory=dict, init=False)

    @property
    def _into(self) -> Path:
        return self.staging / "model"

    def run(self, listing: Listing, limits: Limits, *, with_code: bool) -> None:
        """Download the model. Raises NoModel, and OSError of the disk."""
        files = select_files(self.uri, listing, is_part=self.is_part)
        if is_packed(listing):
            digests = self._get(listing, files, self.staging / "archive")
            self._sha256 = self._unpack(files, digests, listing.place, limits)
        else:
            self._sha256 = self._get(listing, files, self._into)
        self._refuse_pointers(listing.place)
        if with_code and isinstance(self.uri, HuggingFaceUri):
            self._codes = self._get_code(str(listing.version))
        self._write_note(listing)

    def summary(self, directory: Path) -> str:
        """A line about the model, which is complete in a directory now."""
        size = sum((directory / path).stat().st_size for path in self._sha256)
        seconds = max(monotonic() - self._began, 0.001)
        code = "".join(f", with the code of {name} at commit {commit}" for name, commit in self._codes.items())
        return (
            f"downloaded {self.uri} to {directory}: {megabytes(size)} in {seconds:.1f} seconds "
            f"({megabytes(self._transferred / seconds)}/s), {len(self._sha256)} files{code}"
        )

    def _get(self, listing: Listing, files: Collection[RemoteFile], into: Path) -> dict[str, str]:
        """Transfer files, and continue what an earlier process began with the same ones. Returns their SHA-256."""
        with closing(Journal(self.staging / "journal", plan_of(str(self.uri), listing, files))) as journal:
            if journal.is_new:
                shutil.rmtree(into, ignore_errors=True)
            into.mkdir(exist_ok=True)
            what = f"of {self.uri}"
            if listing.version is not None:
                what += f" at {'' if ':' in listing.version else 'commit '}{listing.version}"
            return self._transfer(self.source, files, into, what, journal)

    def _transfer(
        self, source: Source, files: Collection[RemoteFile], into: Path, what: str, journal: Journal
    ) -> dict[str, str]:
        """Transfer files into a directory, if they fit on its volume. Returns their SHA-256 by path."""
        total, missing = sum(file.size for file in files), missing_bytes(files, journal)
        self.make_room(missing)
        resumed = f", {megabytes(total - missing)} of them from an earlier attempt" if missing < total else ""
        self.log.say(f"downloading {len(files)} files, {megabytes(total)}, {what}{resumed}")
        meter = Meter(total, total - missing)
        self.show(meter)
        with self._progress(meter):
            found = Transfer(source, into, journal, meter, self.retries).run(files)
        self._transferred += missing
        return found

    def _progress(self, meter: Meter) -> AbstractContextManager[None]:
        if self.log.is_terminal:
            return progress(lambda: self.log.redraw(meter.bar()), seconds=0.2)
        return progress(lambda: self.log.say(str(meter)))

    def _unpack(
        self, files: Sequence[RemoteFile], sha256: Mapping[str, str], place: str, limits: Limits
    ) -> dict[str, str]:
        """Unpack a model: an archive, or layers. Returns the SHA-256 of its files by path."""
        directory, unpacked = self.staging / "archive", self.staging / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            if any(file.is_layer for file in files):
                found = unpack_layers(directory, files, sha256, unpacked, limits)
            else:
                place = files[0].path
                digests = unpack(directory / place, unpacked, limits)
                found = {path: (unpacked / path, digest) for path, digest in digests.items()}
        except BadArchive as error:
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self.source.about}{error}") from error
        members = model_members(found)
        chosen = select(self.uri, members, place, is_part=self.is_part)
        shutil.rmtree(self._into)
        for path in chosen:
            (self._into / path).parent.mkdir(parents=True, exist_ok=True)
            found[members[path]][0].rename(self._into / path)
        return {path: found[members[path]][1] for path in chosen}

    def _refuse_pointers(self, place: str) -> None:
        """Raises NoModel for a Git LFS pointer."""
        for path in self._sha256:
            if Path(path).suffix in _NEEDED and (problem := pointer_problem(self._into / path)) is not None:
                raise NoModel(
                    DownloadVerdict.MODEL_NOT_FOUND,
                    f"{self.uri} is not a complete model: {problem.replace(str(self._into), place)}",
                )

    def _get_code(self, commit: str) -> Mapping[str, str]:
        """Returns the commits of other repositories whose code was downloaded."""
        from embedding_runtime.storage.remote_code import download_code  # noqa: PLC0415 for repositories of a hub alone

        def list_files(source: Source) -> Listing:
            return self.retries.run(source.list, source)

        def get(source: Source, files: Collection[RemoteFile], into: Path, what: str) -> None:
            journal_file = self.staging / "journal-of-code"
            journal_file.unlink(missing_ok=True)  # code is small: it is not resumed
            with closing(Journal(journal_file, "")) as journal:
                found = self._transfer(source, files, into, what, journal)
            place = into.relative_to(self._into)
            self._sha256 |= {(place / path).as_posix(): digest for path, digest in found.items()}

        return download_code(self.source, commit, self._into, list_files, get)  # type: ignore[arg-type] # of a hub

    def _write_note(self, listing: Listing) -> None:
        """A model that was copied from elsewhere keeps its origin; what its note says of its files must be true."""
        copied = read_note(self._into)
        for path, file in copied.get("files", {}).items():
            if path in self._sha256 and self._sha256[path] != file.get("sha256"):
                message = (
                    f"{self.source.about}{path} has the SHA-256 {self._sha256[path]}, but embedding-model.json beside "
                    f"it says {file.get('sha256')}: copy the model again"
                )
                raise NoModel(DownloadVerdict.CHECKSUM_MISMATCH, message)
        origin: dict[str, Any] = {"uri": str(self.uri)}
        if listing.version is not None:
            origin |= {"revision": listing.version} | ({"code": self._codes} if self._codes else {})
        elif copied and is_origin(copied):
            origin = {key: value for key, value in copied.items() if key != "files"}
        write_note(self._into, origin, self._sha256)


@contextmanager
def errors_of_the_disk(uri: ModelUri, directory: Path) -> Iterator[None]:
    """Turns OSError into NoModel."""
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            verdict, what = DownloadVerdict.INSUFFICIENT_STORAGE, f"the disk is full ({error}); enlarge the volume"
        else:
            is_forbidden = error.errno in (errno.EACCES, errno.EPERM, errno.EROFS)
            remedy = f"; make the volume writable for user {os.getuid()}" if is_forbidden else ""
            verdict, what = DownloadVerdict.DOWNLOAD_FAILED, f"cannot write: {error}{remedy}"
        raise NoModel(verdict, f"{uri}: {directory}: {what}") from error


_NEEDED = frozenset({".bin", ".json", ".safetensors"})
"""Suffixes of files that backends need: weights, configuration, tokenizer."""
