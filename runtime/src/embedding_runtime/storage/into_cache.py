"""Downloads a model into a cache, unless it is there: at most once, whatever the number of processes that want it."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from embedding_runtime.contract import DownloadedModel, HuggingFaceUri, ModelScopeUri, ModelUri, OciUri
from embedding_runtime.storage.cache import Cache
from embedding_runtime.storage.download import Download, errors_of_the_disk
from embedding_runtime.storage.eviction import Budget, Room
from embedding_runtime.storage.fetch import limits_of, supported_uri
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.origin import origin_of
from embedding_runtime.storage.progress_server import progress_server
from embedding_runtime.storage.retries import Retries
from embedding_runtime.storage.selection import select_files, trusts_code
from embedding_runtime.storage.source import Listing, versions_of
from embedding_runtime.storage.sources import open_source
from embedding_runtime.storage.staging import resumable

__all__ = ["fetch_into_cache", "path_of"]

_SELECTION = 1
"""Raise it when other files of the same model are downloaded than before."""

_COMMIT = re.compile(r"[0-9a-f]{40}")


def fetch_into_cache(
    text: str,
    directory: Path,
    environ: Mapping[str, str],
    log: Log,
    budget: Budget,
    *,
    source_name: str | None = None,
    retries: Retries | None = None,
) -> DownloadedModel:
    """Returns the complete model with the URI `text`, with its path in the cache. Raises BadUri, NoModel.

    A model that the cache has costs one listing, and no request at all if its URI has the commit. `source_name`: models
    that were downloaded under another name are not used.
    """
    uri, retries = supported_uri(text), retries or Retries(log.say)
    limits, with_code = limits_of(uri, environ), trusts_code(environ)
    origin = (*origin_of(uri, environ), *([f"source={source_name}"] if source_name else []))

    def cached(path: str) -> DownloadedModel | None:
        found = cache.use(path)
        if found is not None:
            log.say(f"{uri} is in the cache: {cache.models / path}")
        return found

    with errors_of_the_disk(uri, directory):
        cache = Cache(directory, log.say)
        if isinstance(uri, HuggingFaceUri) and _COMMIT.fullmatch(uri.revision or ""):
            path = path_of(uri, str(uri.revision), with_code=with_code, origin=origin)
            with cache.lock(path):
                if (found := cached(path)) is not None:
                    return found
        with closing(open_source(uri, environ)) as source:
            listing = retries.run(source.list, source)
            path = path_of(uri, _version_of(uri, listing), with_code=with_code, origin=origin)
            with cache.lock(path) as staging:
                if (found := cached(path)) is not None:
                    return found
                room = Room(cache, budget, staging, source.about)
                room.make(0)  # a volume that is full to its last byte has no space for a directory
                with progress_server(environ, log.say) as show, resumable(staging):
                    download = Download(uri, source, staging, log, retries, room.make, show)
                    download.run(listing, limits, with_code=with_code)
                    found = cache.publish(staging, path)
                log.say(download.summary(cache.models / path))
                return found


def path_of(uri: ModelUri, version: str, *, with_code: bool, origin: Sequence[str] = ()) -> str:
    """The directory of a model in a cache: of its URI without the revision, its version, what is downloaded, and from
    where, if that is not where the URI says.
    """
    is_of_hub, name = isinstance(uri, HuggingFaceUri), str(_without_revision(uri))
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower())[:80].strip("-")
    return f"{slug}-{_digest([_SELECTION, name, version, with_code and is_of_hub, *origin])[:16]}"


def _without_revision(uri: ModelUri) -> ModelUri:
    if isinstance(uri, HuggingFaceUri | ModelScopeUri):
        return replace(uri, revision=None)
    return replace(uri, tag=None, digest=None) if isinstance(uri, OciUri) else uri


def _version_of(uri: ModelUri, listing: Listing) -> str:
    """The commit, the digest, or else a digest of the listing."""
    return listing.version or _digest(versions_of(select_files(uri, listing)))


def _digest(facts: Iterable[object]) -> str:
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()
