"""Downloads a model from its URI to a directory."""

from collections.abc import Mapping, MutableMapping
from pathlib import Path
from time import monotonic

from embedding_runtime.contract import (
    PVC_ROOT,
    BadUri,
    DownloadVerdict,
    FileUri,
    ForeignUri,
    HuggingFaceUri,
    PvcUri,
    parse_uri,
)
from embedding_runtime.storage.copying import copy_model
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.progress import megabytes, size_of
from embedding_runtime.storage.request import Hub, Request, client_environment, trusts_code
from embedding_runtime.storage.staging import staged

__all__ = ["fetch"]


def fetch(text: str, directory: Path, environ: MutableMapping[str, str], log: Log) -> None:
    """Download the model with the URI `text` to `directory`, unless the directory exists. Raises BadUri, NoModel.

    `environ` has HF_TOKEN and HF_ENDPOINT, and gets the settings of the hub's client.
    """
    uri = parse_uri(text)
    if isinstance(uri, ForeignUri):
        raise BadUri(
            f"{text!r} is not supported by this initializer, but hf://owner/name[:revision], pvc://claim/path and "
            f"file:///path are: use a storage container that supports {uri.scheme}://"
        )
    if directory.is_dir() and any(directory.iterdir()):
        log.say(f"{directory} already exists: nothing to do")
        return
    began = monotonic()
    codes: Mapping[str, str] = {}
    try:
        with staged(directory) as staging:
            codes = _put(uri, text, staging, environ, log)
    except OSError as error:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{text} cannot be written to {directory}: {error}") from error
    took = f"{megabytes(size_of(directory))} in {monotonic() - began:.1f} seconds"
    code = "".join(f", with the code of {repository} at commit {commit}" for repository, commit in codes.items())
    log.say(f"downloaded {text} to {directory}: {took}{code}")


def _put(
    uri: HuggingFaceUri | PvcUri | FileUri, text: str, staging: Path, environ: MutableMapping[str, str], log: Log
) -> Mapping[str, str]:
    """Put the model into `staging`. Returns the commits of other repositories whose code was downloaded."""
    into = staging / "model"
    match uri:
        case FileUri(path):
            copy_model(text, Path(path), into, log.say)
        case PvcUri(claim, path):
            copy_model(text, Path(PVC_ROOT / claim / path), into, log.say)
        case HuggingFaceUri(repo_id, revision):
            request = Request(text, repo_id, revision, Hub.from_environ(environ))
            environ.update(client_environment(staging / "client"))
            from embedding_runtime.storage.hub import download_model  # noqa: PLC0415 after the environment is set

            return download_model(request, into, staging / "client", log, with_code=trusts_code(environ))
    return {}
