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
from collections.abc import Callable, Sequence
from pathlib import Path

from huggingface_hub import HfApi, get_session, snapshot_download
from huggingface_hub.hf_api import RepoSibling

from embedding_runtime.contract import MODEL_NOTE, DownloadVerdict
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
    request: Request, into: Path, cache: Path, log: Log, pause: Callable[[float], None] = time.sleep
) -> None:
    """Download the files of a model to a directory, and verify their hashes. Raises NoModel."""
    _log_client_warnings(log)
    for attempt in itertools.count(1):
        try:
            _attempt(request, into, cache, log)
        except HUB_FAULTS as error:
            failed = no_model(error, request, attempt)
            if attempt > len(_PAUSES) or not may_pass(error):
                raise failed from error
            seconds = _PAUSES[attempt - 1]
            log.say(f"{failed}; retrying in {seconds} seconds")
            pause(seconds)
        else:
            return


def _attempt(request: Request, into: Path, cache: Path, log: Log) -> None:
    """Run one attempt. Files that are already complete are not downloaded again."""
    get_session().timeout = _TIMEOUT
    token = request.hub.token or False  # False: do not use a token from elsewhere
    info = HfApi(request.hub.endpoint, token=token).model_info(
        request.repo_id, revision=request.revision, files_metadata=True, timeout=_TIMEOUT
    )
    listed = {file.rfilename: file for file in info.siblings or ()}
    paths = wanted(listed)
    if not is_model(paths):
        raise NoModel(
            DownloadVerdict.MODEL_NOT_FOUND,
            f"{request.uri} is not a model: at {request.hub.endpoint} it has neither config.json nor modules.json",
        )
    files = [listed[path] for path in paths]
    total = sum(file.size or 0 for file in files)
    _check_free_space(total, into, request.uri)
    log.say(f"downloading {len(files)} files, {megabytes(total)}, of {request.uri} at commit {info.sha}")
    with progress(into, total, log.say):
        snapshot_download(
            request.repo_id,
            revision=info.sha,
            local_dir=into,
            cache_dir=cache,
            token=token,
            endpoint=request.hub.endpoint,
            allow_patterns=[glob.escape(path) for path in paths],
        )
    _check(files, into)
    shutil.rmtree(into / ".cache")  # the client's metadata
    (into / MODEL_NOTE).write_text(json.dumps({"uri": str(request.uri), "revision": info.sha}))


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
