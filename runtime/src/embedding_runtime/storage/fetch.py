"""Downloads a model from its URI to a directory: which files, whether they fit, and what stays beside them."""

import shutil
from collections.abc import Collection, Iterable, Mapping
from contextlib import closing, suppress
from pathlib import Path
from time import monotonic
from typing import Any

from embedding_runtime.contract import (
    SCHEMES,
    BadUri,
    DownloadVerdict,
    ForeignUri,
    HuggingFaceUri,
    ModelUri,
    parse_uri,
)
from embedding_runtime.git_lfs import pointer_problem
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.journal import Journal, plan_of
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.names import bad_names
from embedding_runtime.storage.note import read_note, write_note
from embedding_runtime.storage.progress import Meter, megabytes, progress
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import is_model, trusts_code, wanted
from embedding_runtime.storage.source import Listing, RemoteFile, Source
from embedding_runtime.storage.sources import open_source
from embedding_runtime.storage.staging import staged
from embedding_runtime.storage.transfer import Transfer, cannot_write, missing_bytes

__all__ = ["fetch"]


def fetch(text: str, directory: Path, environ: Mapping[str, str], log: Log, retries: Retries | None = None) -> None:
    """Download the model with the URI `text` to `directory`, unless the directory exists. Raises BadUri, NoModel.

    `environ` has the credentials and settings of the sources.
    """
    uri = parse_uri(text)
    if isinstance(uri, ForeignUri):
        raise BadUri(
            f"{text!r} is not supported by this initializer, which knows {', '.join(SCHEMES)}: use a storage container "
            f"that supports {uri.scheme}://"
        )
    if directory.is_dir() and any(directory.iterdir()):
        log.say(f"{directory} already exists: nothing to do")
        return
    try:
        with staged(directory) as staging, closing(open_source(uri, environ)) as source:
            _Download(uri, source, staging, log, retries or Retries(log.say)).run(directory, environ)
    except OSError as error:
        raise cannot_write(f"{uri}: {directory}: ", error) from error


class _Download:
    """One download to a temporary directory."""

    def __init__(self, uri: ModelUri, source: Source, staging: Path, log: Log, retries: Retries) -> None:
        self._uri, self._source, self._staging, self._log, self._retries = uri, source, staging, log, retries
        self._into = staging / "model"
        self._sha256: dict[str, str] = {}
        self._began, self._fetched = monotonic(), 0

    def run(self, directory: Path, environ: Mapping[str, str]) -> None:
        """Download the model; `directory` is what it is going to be called."""
        listing = self._list(self._source)
        files = _selected(self._source, listing)
        codes: Mapping[str, str] = {}
        at_commit = f" at commit {listing.version}" if listing.version else ""
        with closing(Journal(self._staging / "journal", plan_of(str(self._uri), listing, files))) as journal:
            if journal.is_new:
                shutil.rmtree(self._into)
                self._into.mkdir()
            self._transfer(self._source, files, self._into, f"files, {{size}}, of {self._uri}{at_commit}", journal)
        _refuse_pointers(self._source, listing, files, self._into)
        if isinstance(self._uri, HuggingFaceUri) and trusts_code(environ):
            codes = self._code(str(listing.version))
        self._write_note(listing, codes)
        seconds = monotonic() - self._began
        count, rate = len(self._sha256), megabytes(self._fetched / max(seconds, 0.001))
        size = megabytes(sum((self._into / path).stat().st_size for path in self._sha256))
        code = "".join(f", with the code of {repository} at commit {commit}" for repository, commit in codes.items())
        self._log.say(
            f"downloaded {self._uri} to {directory}: {size} in {seconds:.1f} seconds ({rate}/s), {count} files{code}"
        )

    def _list(self, source: Source) -> Listing:
        return self._retries.run(source.list, source)

    def _transfer(self, source: Source, files: Collection[RemoteFile], into: Path, what: str, journal: Journal) -> None:
        """Transfer files into a directory of the model, if they fit on its volume."""
        missing = missing_bytes(files, journal)
        free = shutil.disk_usage(self._staging).free
        if free < missing:
            raise NoModel(
                DownloadVerdict.DOWNLOAD_FAILED,
                f"{source.about}it needs {megabytes(missing)}, but the volume has {megabytes(free)} free: enlarge the "
                "volume",
            )
        total = sum(file.size for file in files)
        resumed = f", of which {megabytes(total - missing)} are there already" if missing < total else ""
        self._log.say(f"downloading {len(files)} {what.format(size=megabytes(total))}{resumed}")
        meter = Meter(total, total - missing)
        with progress(meter, self._log.say):
            found = Transfer(source, into, journal, meter, self._retries).run(files)
        self._fetched += missing
        prefix = into.relative_to(self._into).as_posix()
        self._sha256.update({f"{prefix}/{path}".removeprefix("./"): digest for path, digest in found.items()})

    def _code(self, commit: str) -> Mapping[str, str]:
        from embedding_runtime.storage.remote_code import download_code  # noqa: PLC0415 for repositories of a hub alone

        def get(source: Source, files: Collection[RemoteFile], into: Path, what: str) -> None:
            journal_file = self._staging / "journal-of-code"
            with suppress(FileNotFoundError):  # code is small: it is not resumed
                journal_file.unlink()
            with closing(Journal(journal_file, "")) as journal:
                self._transfer(source, files, into, what, journal)

        return download_code(self._source, commit, self._into, self._list, get)  # type: ignore[arg-type] # of a hub

    def _write_note(self, listing: Listing, codes: Mapping[str, str]) -> None:
        """A model that was copied from elsewhere keeps its origin; what its note says of its files must be true."""
        copied = read_note(self._into)
        for path, file in copied.get("files", {}).items():
            if path in self._sha256 and self._sha256[path] != file.get("sha256"):
                raise NoModel(
                    DownloadVerdict.DOWNLOAD_FAILED,
                    f"{self._source.about}{path} has the SHA-256 {self._sha256[path]}, but embedding-model.json beside "
                    f"it says {file.get('sha256')}: copy the model again",
                )
        origin: dict[str, Any] = {"uri": str(self._uri)}
        if listing.version is not None:
            origin |= {"revision": listing.version} | ({"code": codes} if codes else {})
        elif copied:
            origin = {key: value for key, value in copied.items() if key != "files"}
        write_note(self._into, origin, self._sha256)


def _selected(source: Source, listing: Listing) -> list[RemoteFile]:
    """The files to download. Raises NoModel."""
    if (problem := bad_names(listing.files)) is not None:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{source.about}{problem}: nothing was downloaded")
    paths = wanted(listing.files)
    if not is_model(paths):
        raise NoModel(
            DownloadVerdict.MODEL_NOT_FOUND,
            f"{source.about.removesuffix(': ')} is not a model: {listing.place} has neither config.json nor "
            "modules.json",
        )
    return [listing.files[path] for path in paths]


_NEEDED = frozenset({".bin", ".json", ".safetensors"})
"""Suffixes of files that backends need: weights, configuration, tokenizer."""


def _refuse_pointers(source: Source, listing: Listing, files: Iterable[RemoteFile], into: Path) -> None:
    """Raises NoModel for a Git LFS pointer."""
    for file in files:
        if Path(file.path).suffix in _NEEDED and (problem := pointer_problem(into / file.path)) is not None:
            raise NoModel(
                DownloadVerdict.MODEL_NOT_FOUND,
                f"{source.about.removesuffix(': ')} is not a complete model: "
                f"{problem.replace(str(into), listing.place)}",
            )
