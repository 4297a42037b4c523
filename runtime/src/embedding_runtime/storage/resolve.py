"""Resolves the URI of a model to its commit and the size of its weights, with one request and no download."""

from collections.abc import Callable, Mapping
from contextlib import closing

from embedding_runtime.contract import DownloadedModel
from embedding_runtime.storage.fetch import supported_uri
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.progress import megabytes
from embedding_runtime.storage.report import is_weights
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import is_packed, select_files
from embedding_runtime.storage.sources import open_source

__all__ = ["resolve"]


def resolve(
    text: str,
    environ: Mapping[str, str],
    log: Log,
    show: Callable[[str], None],
    retries: Retries | None = None,
    *,
    is_part: bool = False,
) -> DownloadedModel:
    """Returns what a download would report. Raises BadUri, NoModel.

    The weights in an archive count as 0 bytes, since only a download tells their size. `show`: gets a line about it.
    `is_part`: it may be less than a model.
    """
    uri, retries = supported_uri(text), retries or Retries(log.say)
    with closing(open_source(uri, environ)) as source:
        listing = retries.run(source.list, source)
    files = select_files(uri, listing, is_part=is_part)
    weights = sum(file.size for file in files if is_weights(file.path))
    version = listing.version or "no version"
    if listing.version is not None and ":" not in listing.version:
        version = f"commit {version}"
    content = "packed" if is_packed(listing) else f"{megabytes(weights)} of them weights"
    show(f"{uri}: {version}, {len(files)} files, {megabytes(sum(file.size for file in files))}, {content}")
    return DownloadedModel(revision=listing.version, weights_bytes=weights)
