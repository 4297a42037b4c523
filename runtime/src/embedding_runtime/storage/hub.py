"""Downloads a model from a Hugging Face hub.

Import it after `request.client_environment` is in the environment, which the hub's client reads when it is imported.
"""

import glob
import hashlib
import itertools
import json
import logging
import shutil
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from huggingface_hub import HfApi, get_session, snapshot_download
from huggingface_hub.hf_api import RepoSibling

from embedding_runtime.contract import MODEL_NOTE, DownloadVerdict
from embedding_runtime.remote_code import (
    BadReference,
    Reference,
    code_revision,
    commit_of,
    references,
    repository_directory,
)
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.hub_faults import HUB_FAULTS, Damaged, may_pass, no_model
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.progress import megabytes, progress
from embedding_runtime.storage.request import Request
from embedding_runtime.storage.selection import is_model, wanted

__all__ = ["download_model"]

_PAUSES = (2, 4, 8)
"""Seconds between attempts. Within an attempt, the client resumes broken downloads."""

_TIMEOUT = 20.0
"""Timeout in seconds of a request for metadata. The client has its own timeouts for files."""


def download_model(
    request: Request,
    into: Path,
    cache: Path,
    log: Log,
    pause: Callable[[float], None] = time.sleep,
    *,
    with_code: bool = False,
) -> Mapping[str, str]:
    """Download the files of a model to a directory, and verify their hashes. Raises NoModel.

    `with_code`: also the Python code of other repositories that its files name. Returns their commits.
    """
    _log_client_warnings(log)
    commit = _with_retries(request, log, pause, lambda: _download(request, into, cache, log))
    codes = _download_codes(replace(request, revision=commit), into, cache, log, pause) if with_code else {}
    note = {"uri": str(request.uri), "revision": commit} | ({"code": codes} if codes else {})
    (into / MODEL_NOTE).write_text(json.dumps(note))
    return codes


def _download_codes(
    model: Request, into: Path, cache: Path, log: Log, pause: Callable[[float], None]
) -> Mapping[str, str]:
    """Download the Python code that the model's files name with a repository. Returns the commit of each.

    `model.revision`: the downloaded commit, also for code in the model's own repository. Code that is in the model's
    directory, as in a copy of the model that has its code, is used as it is.
    """
    commits: dict[str, str] = {}
    try:
        named = [each for each in references(into) if each.repository is not None]
        revision = code_revision(into)
    except BadReference as error:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{model.uri}: {str(error).replace(f'{into}/', '')}") from error
    for repository, group in itertools.groupby(sorted(named, key=_repository_of), _repository_of):
        found = list(group)
        if (commit := commit_of(into, repository)) is not None:
            commits[repository] = commit
            continue
        reason = f"its code is in the repository {repository} ({_without(found[0], into)})"
        its_revision = model.revision if repository == model.repo_id else revision
        request = Request(model.uri, repository, its_revision, model.hub, reason)
        download = partial(_download_code, request, {each.module for each in found}, into, cache, log)
        commits[repository] = _with_retries(request, log, pause, download)
    return commits


def _repository_of(reference: Reference) -> str:
    return reference.repository or ""


def _without(reference: Reference, directory: Path) -> str:
    """Describe a reference by its path in the model, whose directory is temporary."""
    return str(replace(reference, file=reference.file.relative_to(directory)))


def _with_retries(request: Request, log: Log, pause: Callable[[float], None], download: Callable[[], str]) -> str:
    """Download a repository, with several attempts. Returns its commit. Raises NoModel."""
    for attempt in itertools.count(1):
        try:
            return download()
        except HUB_FAULTS as error:
            failed = no_model(error, request, attempt)
            if attempt > len(_PAUSES) or not may_pass(error):
                raise failed from error
            seconds = _PAUSES[attempt - 1]
            log.say(f"{failed}; retrying in {seconds} seconds")
            pause(seconds)
    raise AssertionError  # the last attempt returns or raises


def _download(request: Request, into: Path, cache: Path, log: Log) -> str:
    """Download a model. Files that are already complete are not downloaded again. Returns the commit."""
    commit, listed = _list(request)
    paths = wanted(listed)
    if not is_model(paths):
        raise NoModel(
            DownloadVerdict.MODEL_NOT_FOUND,
            f"{request.uri} is not a model: at {request.hub.endpoint} it has neither config.json nor modules.json",
        )
    files = [listed[path] for path in paths]
    total = sum(file.size or 0 for file in files)
    _check_free_space(total, into, request.uri)
    log.say(f"downloading {len(files)} files, {megabytes(total)}, of {request.uri} at commit {commit}")
    with progress(into, total, log.say):
        _fetch(request, commit, files, into, cache)
    return commit


def _download_code(request: Request, modules: Collection[str], into: Path, cache: Path, log: Log) -> str:
    """Download the Python files of a repository to the place where transformers looks for them. Returns the commit.

    `modules`: files that the model's files name.
    """
    commit, listed = _list(request)
    files = [file for path, file in listed.items() if path.endswith(".py")]
    if missing := set(modules) - listed.keys():
        raise NoModel(
            DownloadVerdict.MODEL_NOT_FOUND,
            f"{request}{request.repo_id} at commit {commit} has no {', '.join(sorted(missing))}: use a revision of the "
            "model that fits it",
        )
    log.say(f"downloading {len(files)} Python files of {request.repo_id} at commit {commit}, since {request.reason}")
    place = repository_directory(into, request.repo_id)
    _fetch(request, commit, files, place / "snapshots" / commit, cache)
    (place / "refs").mkdir(exist_ok=True)
    for name in {"main", request.revision or "main"} - {commit}:
        ref = place / "refs" / name
        ref.parent.mkdir(parents=True, exist_ok=True)
        ref.write_text(commit)
    return commit


def _list(request: Request) -> tuple[str, Mapping[str, RepoSibling]]:
    """The commit of a revision, and its files by path."""
    get_session().timeout = _TIMEOUT
    info = HfApi(request.hub.endpoint, token=request.hub.token or False).model_info(
        request.repo_id, revision=request.revision, files_metadata=True, timeout=_TIMEOUT
    )
    return str(info.sha), {file.rfilename: file for file in info.siblings or ()}


def _fetch(request: Request, commit: str, files: Sequence[RepoSibling], into: Path, cache: Path) -> None:
    """Download files and verify them."""
    snapshot_download(
        request.repo_id,
        revision=commit,
        local_dir=into,
        cache_dir=cache,
        token=request.hub.token or False,  # False: do not use a token from elsewhere
        endpoint=request.hub.endpoint,
        allow_patterns=[glob.escape(file.rfilename) for file in files],
    )
    _check(files, into)
    shutil.rmtree(into / ".cache")  # the client's metadata


def _check_free_space(total: int, directory: Path, uri: str) -> None:
    free = shutil.disk_usage(directory).free
    if free < total:
        raise NoModel(
            DownloadVerdict.DOWNLOAD_FAILED,
            f"{uri} needs {megabytes(total)}, but the volume has {megabytes(free)} free: enlarge the volume",
        )


def _check(files: Sequence[RepoSibling], directory: Path) -> None:
    """Verify hashes; the client compares sizes only. A damaged file is removed, so that a retry downloads it."""
    for file in files:
        path = directory / file.rfilename
        if not _is_as_listed(path, file):
            path.unlink()
            raise Damaged(f"the checksum of {file.rfilename} is not the one that the hub lists")


def _is_as_listed(path: Path, file: RepoSibling) -> bool:
    """Compare hashes. A hub lists SHA-256 of large files and git's blob id of others; some mirrors list neither."""
    with path.open("rb") as stream:
        if file.lfs is not None:
            return hashlib.file_digest(stream, "sha256").hexdigest() == file.lfs.sha256
        if file.blob_id is not None:
            blob = hashlib.sha1(b"blob %d\0" % path.stat().st_size, usedforsecurity=False)
            return hashlib.file_digest(stream, lambda: blob).hexdigest() == file.blob_id
    return True


def _log_client_warnings(log: Log) -> None:
    """Log the client's warnings, mostly about retries, through our log, which removes secrets."""
    client = logging.getLogger("huggingface_hub")
    client.handlers = [log]
