"""Downloads a model from its URI to a directory: which files, whether they fit, and what stays beside them."""

import errno
import shutil
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing
from pathlib import Path
from time import monotonic
from typing import Any

from embedding_runtime.contract import (
    SCHEMES,
    BadUri,
    DownloadVerdict,
    ForeignUri,
    HttpUri,
    HuggingFaceUri,
    ModelUri,
    parse_uri,
)
from embedding_runtime.git_lfs import pointer_problem
from embedding_runtime.storage.archive import BadArchive, Limits, is_archive, model_members, unpack
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.journal import Journal, plan_of
from embedding_runtime.storage.layers import unpack_layers
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.names import bad_names, clash
from embedding_runtime.storage.note import read_note, write_note
from embedding_runtime.storage.progress import Meter, megabytes, progress
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import is_model, trusts_code, wanted
from embedding_runtime.storage.source import Listing, RemoteFile, Source
from embedding_runtime.storage.sources import open_source
from embedding_runtime.storage.staging import staged
from embedding_runtime.storage.transfer import Transfer, missing_bytes

__all__ = ["fetch"]


def fetch(text: str, directory: Path, environ: Mapping[str, str], log: Log, retries: Retries | None = None) -> None:
    """Download the model with the URI `text` to `directory`, unless the directory exists. Raises BadUri, NoModel.

    `environ` has the credentials and settings of the sources.
    """
    uri = parse_uri(text)
    if isinstance(uri, ForeignUri):
        raise BadUri(
            uri.problem
            or f"{text!r} is not supported by this initializer, which knows {', '.join(SCHEMES)}: use a storage "
            f"container that supports {uri.scheme}://"
        )
    if directory.is_dir() and any(directory.iterdir()):
        log.say(f"{directory} already exists: nothing to do")
        return
    try:
        limits = Limits.from_environ(environ)
    except ValueError as error:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri}: {error}") from error
    began = monotonic()
    try:
        with staged(directory) as staging, closing(open_source(uri, environ)) as source:
            download = _Download(uri, source, staging, log, retries or Retries(log.say))
            codes = download.run(limits, with_code=trusts_code(environ))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
        what = f"the disk is full ({error}); enlarge the volume" if full else f"cannot write: {error}"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri}: {directory}: {what}") from error
    seconds = max(monotonic() - began, 0.001)
    code = "".join(f", with the code of {repository} at commit {commit}" for repository, commit in codes.items())
    log.say(
        f"downloaded {uri} to {directory}: {megabytes(download.size)} in {seconds:.1f} seconds "
        f"({megabytes(download.transferred / seconds)}/s), {len(download.sha256)} files{code}"
    )


class _Download:
    """One download to a temporary directory."""

    def __init__(self, uri: ModelUri, source: Source, staging: Path, log: Log, retries: Retries) -> None:
        self._uri, self._source, self._staging, self._log, self._retries = uri, source, staging, log, retries
        self._into = staging / "model"
        self.sha256: dict[str, str] = {}
        """Of each file of the model."""
        self.size = self.transferred = 0

    def run(self, limits: Limits, *, with_code: bool) -> Mapping[str, str]:
        """Download the model. Returns the commits of other repositories whose code was downloaded. Raises NoModel."""
        listing = self._list(self._source)
        if (problem := _problem(listing)) is not None:
            raise self._failed(f"{problem}: nothing was downloaded")
        files = list(listing.files.values())
        is_packed = any(file.is_layer for file in files) or (len(files) == 1 and is_archive(files[0].path))
        if is_packed:
            digests = self._get(listing, listing.files, self._staging / "archive")
            self.sha256 = self._unpack(files, digests, listing.place, limits)
        else:
            is_file = isinstance(self._uri, HttpUri)
            chosen = list(listing.files) if is_file else self._select(listing.files, listing.place)
            self.sha256 = self._get(listing, chosen, self._into)
        self._refuse_pointers(listing.place)
        codes: Mapping[str, str] = {}
        if with_code and isinstance(self._uri, HuggingFaceUri):
            codes = self._get_code(str(listing.version))
        self._write_note(listing, codes)
        self.size = sum((self._into / path).stat().st_size for path in self.sha256)
        return codes

    def _list(self, source: Source) -> Listing:
        return self._retries.run(source.list, source)

    def _get(self, listing: Listing, paths: Iterable[str], into: Path) -> dict[str, str]:
        """Transfer files, and continue what an earlier process began with the same ones. Returns their SHA-256."""
        files = [listing.files[path] for path in paths]
        if (problem := clash(file.path for file in files)) is not None:
            raise self._failed(f"{problem}: nothing was downloaded")
        with closing(Journal(self._staging / "journal", plan_of(str(self._uri), listing, files))) as journal:
            if journal.is_new:
                shutil.rmtree(into, ignore_errors=True)
            into.mkdir(exist_ok=True)
            what = f"of {self._uri}"
            if listing.version is not None:
                what += f" at {'' if ':' in listing.version else 'commit '}{listing.version}"
            return self._transfer(self._source, files, into, what, journal)

    def _transfer(
        self, source: Source, files: Collection[RemoteFile], into: Path, what: str, journal: Journal
    ) -> dict[str, str]:
        """Transfer files into a directory, if they fit on its volume. Returns their SHA-256 by path."""
        total, missing = sum(file.size for file in files), missing_bytes(files, journal)
        free = shutil.disk_usage(self._staging).free
        if free < missing:
            raise self._failed(
                f"it needs {megabytes(missing)}, but the volume has {megabytes(free)} free: enlarge the volume"
            )
        resumed = f", {megabytes(total - missing)} of them from an earlier attempt" if missing < total else ""
        self._log.say(f"downloading {len(files)} files, {megabytes(total)}, {what}{resumed}")
        meter = Meter(total, total - missing)
        with self._progress(meter):
            found = Transfer(source, into, journal, meter, self._retries).run(files)
        self.transferred += missing
        return found

    def _progress(self, meter: Meter) -> AbstractContextManager[None]:
        if self._log.is_terminal:
            return progress(lambda: self._log.redraw(meter.bar()), seconds=0.2)
        return progress(lambda: self._log.say(str(meter)))

    def _select(self, paths: Iterable[str], place: str) -> list[str]:
        """The files that a backend needs. Raises NoModel."""
        chosen = wanted(paths)
        if not is_model(chosen):
            raise NoModel(
                DownloadVerdict.MODEL_NOT_FOUND,
                f"{self._uri} is not a model: {place} has neither config.json nor modules.json",
            )
        return chosen

    def _unpack(
        self, files: Sequence[RemoteFile], sha256: Mapping[str, str], place: str, limits: Limits
    ) -> dict[str, str]:
        """Unpack a model: an archive, or layers. Returns the SHA-256 of its files by path."""
        directory, unpacked = self._staging / "archive", self._staging / "unpacked"
        shutil.rmtree(unpacked, ignore_errors=True)
        try:
            if any(file.is_layer for file in files):
                found = unpack_layers(directory, files, sha256, unpacked, limits)
            else:
                place = files[0].path
                digests = unpack(directory / place, unpacked, limits)
                found = {path: (unpacked / path, digest) for path, digest in digests.items()}
        except BadArchive as error:
            raise self._failed(str(error)) from error
        members = model_members(found)
        chosen = self._select(members, place)
        if (problem := clash(chosen)) is not None:
            raise self._failed(problem)
        shutil.rmtree(self._into)
        for path in chosen:
            (self._into / path).parent.mkdir(parents=True, exist_ok=True)
            found[members[path]][0].rename(self._into / path)
        return {path: found[members[path]][1] for path in chosen}

    def _refuse_pointers(self, place: str) -> None:
        """Raises NoModel for a Git LFS pointer."""
        for path in self.sha256:
            if Path(path).suffix in _NEEDED and (problem := pointer_problem(self._into / path)) is not None:
                raise NoModel(
                    DownloadVerdict.MODEL_NOT_FOUND,
                    f"{self._uri} is not a complete model: {problem.replace(str(self._into), place)}",
                )

    def _get_code(self, commit: str) -> Mapping[str, str]:
        from embedding_runtime.storage.remote_code import download_code  # noqa: PLC0415 for repositories of a hub alone

        def get(source: Source, files: Collection[RemoteFile], into: Path, what: str) -> None:
            journal_file = self._staging / "journal-of-code"
            journal_file.unlink(missing_ok=True)  # code is small: it is not resumed
            with closing(Journal(journal_file, "")) as journal:
                found = self._transfer(source, files, into, what, journal)
            place = into.relative_to(self._into)
            self.sha256 |= {(place / path).as_posix(): digest for path, digest in found.items()}

        return download_code(self._source, commit, self._into, self._list, get)  # type: ignore[arg-type] # of a hub

    def _write_note(self, listing: Listing, codes: Mapping[str, str]) -> None:
        """A model that was copied from elsewhere keeps its origin; what its note says of its files must be true."""
        copied = read_note(self._into)
        for path, file in copied.get("files", {}).items():
            if path in self.sha256 and self.sha256[path] != file.get("sha256"):
                raise self._failed(
                    f"{path} has the SHA-256 {self.sha256[path]}, but embedding-model.json beside it says "
                    f"{file.get('sha256')}: copy the model again"
                )
        origin: dict[str, Any] = {"uri": str(self._uri)}
        if listing.version is not None:
            origin |= {"revision": listing.version} | ({"code": codes} if codes else {})
        elif copied:
            origin = {key: value for key, value in copied.items() if key != "files"}
        write_note(self._into, origin, self.sha256)

    def _failed(self, message: str) -> NoModel:
        return NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self._source.about}{message}")


def _problem(listing: Listing) -> str | None:
    """What is wrong with a listing that may be hostile, if so."""
    if len(listing.files) > _MOST_FILES:
        return f"{len(listing.files)} files are listed, and at most {_MOST_FILES} are downloaded"
    for path, file in listing.files.items():
        if not 0 <= file.size <= _LARGEST_FILE:
            return f"{path[:200]!r} is listed with {file.size} bytes"
    return bad_names(listing.files)


_MOST_FILES = 100_000
_LARGEST_FILE = 1 << 50

_NEEDED = frozenset({".bin", ".json", ".safetensors"})
"""Suffixes of files that backends need: weights, configuration, tokenizer."""
