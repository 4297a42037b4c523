"""Downloads a model from its URI to a directory, which appears when the model is complete."""

from collections.abc import Mapping
from contextlib import closing
from functools import partial
from pathlib import Path

from embedding_runtime.contract import (
    SCHEMES,
    BadUri,
    DownloadVerdict,
    ForeignUri,
    ModelUri,
    parse_uri,
    without_secrets,
)
from embedding_runtime.storage.archive import Limits
from embedding_runtime.storage.download import Download, errors_of_the_disk
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.free_space import FreeSpace
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.progress_server import progress_server
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import trusts_code
from embedding_runtime.storage.sources import open_source
from embedding_runtime.storage.staging import staged

__all__ = ["fetch", "limits_of", "supported_uri"]


def fetch(
    text: str,
    directory: Path,
    environ: Mapping[str, str],
    log: Log,
    retries: Retries | None = None,
    *,
    is_part: bool = False,
    volume: Path | None = None,
) -> None:
    """Download the model with the URI `text` to `directory`, unless the directory exists. Raises BadUri, NoModel.

    `environ` has the credentials and settings of the sources. `is_part`: it may be less than a model. `volume`: what
    is in this directory counts against a limit of storage; default: the parent of `directory`.
    """
    uri = supported_uri(text)
    if directory.is_dir() and any(directory.iterdir()):
        log.say(f"{directory} already exists: nothing to do")
        return
    limits, retries = limits_of(uri, environ), retries or Retries(log.say)
    with errors_of_the_disk(uri, directory):
        with (
            progress_server(environ, log.say) as show,
            staged(directory) as staging,
            closing(open_source(uri, environ)) as source,
        ):
            space = FreeSpace.of(staging, volume or directory.parent, uri, environ)
            download = Download(
                uri, source, staging, log, retries, partial(space.check, source.about), show, is_part=is_part
            )
            download.run(retries.run(source.list, source), limits, with_code=trusts_code(environ))
        log.say(download.summary(directory))


def supported_uri(text: str) -> ModelUri:
    """Parse a URI that one of our sources has. Raises BadUri."""
    uri = parse_uri(text)
    if isinstance(uri, ForeignUri):
        raise BadUri(
            uri.problem
            or f"{without_secrets(text)!r} is not supported by this initializer, which knows {', '.join(SCHEMES)}: use "
            f"a storage container that supports {uri.scheme}://"
        )
    return uri


def limits_of(uri: ModelUri, environ: Mapping[str, str]) -> Limits:
    """The limits of archives. Raises NoModel."""
    try:
        return Limits.from_environ(environ)
    except ValueError as error:
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{uri}: {error}") from error
