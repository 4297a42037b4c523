"""s3://, gs://, az:// and https://ACCOUNT.blob.core.windows.net: a prefix of keys in a bucket, or one archive there.

The library reads credentials and endpoints from the process's environment, by the names of each cloud: keys, workload
identity, anonymous access. Object stores list no digests of contents; ETags make sure that all ranges of a file are of
one version.
"""

import re
from collections.abc import Generator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import obstore
from obstore.exceptions import BaseError
from obstore.store import AzureStore, GCSStore, S3Store

from embedding_runtime.contract import DownloadVerdict, ObjectStoreUri
from embedding_runtime.storage.authorities import certificate_authorities
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.source import Listing, RemoteFile

if TYPE_CHECKING:
    from obstore.store import AzureConfig, ClientConfig, RetryConfig

__all__ = ["ObjectSource", "open_source"]

Store = S3Store | GCSStore | AzureStore


@dataclass(frozen=True)
class _Cloud:
    name: str
    credentials: str
    """What to set, for messages."""


_CLOUDS: Mapping[str, _Cloud] = {
    "s3": _Cloud(
        "S3",
        "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or use a service account with a role, or set "
        "AWS_SKIP_SIGNATURE=true for a public bucket",
    ),
    "gs": _Cloud(
        "Google Cloud Storage",
        "set GOOGLE_SERVICE_ACCOUNT_KEY, or use workload identity, or set GOOGLE_SKIP_SIGNATURE=true for a public "
        "bucket",
    ),
    "az": _Cloud(
        "Azure Blob Storage",
        "set AZURE_STORAGE_ACCOUNT_NAME with AZURE_STORAGE_ACCOUNT_KEY or AZURE_STORAGE_SAS_KEY, or use workload "
        "identity, or set AZURE_SKIP_SIGNATURE=true for a public container",
    ),
}


def open_source(uri: ObjectStoreUri, environ: Mapping[str, str]) -> "ObjectSource":
    """The source for a URI. Raises NoModel for settings that are not valid."""
    try:
        return ObjectSource(uri, _store(uri, environ))
    except (BaseError, OSError, ValueError) as error:
        message = f"{uri}: {_first_line(error)}: {_CLOUDS[uri.scheme].credentials}"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message) from error


class ObjectSource:
    """Keys below a prefix."""

    def __init__(self, uri: ObjectStoreUri, store: Store) -> None:
        self.about = f"{uri}: "
        self._uri, self._store, self._cloud = uri, store, _CLOUDS[uri.scheme]
        self.server = f"{self._cloud.name}, bucket {uri.bucket}"

    def list(self) -> Listing:
        prefix = f"{self._uri.path}/" if self._uri.path else ""
        found: dict[str, tuple[int, str | None]] = {}
        try:
            for objects in obstore.list(self._store, self._uri.path or None, chunk_size=1000):
                found |= {each["path"]: (each["size"], each["e_tag"]) for each in objects}
            if not found and self._uri.path:
                each = obstore.head(self._store, self._uri.path)
                found[each["path"]] = each["size"], each["e_tag"]
                prefix = self._uri.path.removesuffix(PurePosixPath(self._uri.path).name)
        except (BaseError, OSError) as error:
            raise self._fault(error) from error
        # Consoles create empty objects in the place of directories.
        directories = {str(parent) for key in found for parent in PurePosixPath(key).parents}
        files = {
            (path := key.removeprefix(prefix)): RemoteFile(path, size, key, etag=etag, has_ranges=etag is not None)
            for key, (size, etag) in sorted(found.items())
            if not (size == 0 and key in directories)
        }
        return Listing(files, None, str(self._uri))

    def read(self, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
        try:
            got = obstore.get(self._store, file.location, options={"range": (start, stop), "if_match": file.etag})
            for chunk in got.stream(min_chunk_size=0):
                yield bytes(chunk)
        except (BaseError, OSError) as error:
            if _status(_first_line(error)) != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:  # the object ends before it
                raise self._fault(error) from error

    def close(self) -> None:
        """The library closes its connections by itself."""

    def _fault(self, error: Exception) -> NoModel | Interrupted:
        """The verdict on an error of the library, of which it tells the status in words only."""
        text = _first_line(error)
        status = _status(text)
        words = f"{self.server}: {text}"
        has_credentials = _METADATA_SERVER not in text  # which is the last of the places where they may be
        if not has_credentials and status is not None and status < HTTPStatus.INTERNAL_SERVER_ERROR:
            status = HTTPStatus.UNAUTHORIZED
        if isinstance(error, FileNotFoundError) or status == HTTPStatus.NOT_FOUND:
            message = f"{self.server} has neither objects below {self._uri.path!r} nor one of that name: {text}"
            return NoModel(DownloadVerdict.MODEL_NOT_FOUND, f"{self.about}{message}; check the URI")
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            return NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, f"{self.about}{words}; {self._cloud.credentials}")
        if status == HTTPStatus.PRECONDITION_FAILED:
            message = f"{self.about}a file changed while it was downloaded: {words}"
            return NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)
        if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _MAY_PASS:
            return Interrupted(text if has_credentials else f"{text}; {self._cloud.credentials}")
        return NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self.about}{words}")


def _status(text: str) -> int | None:
    """The status in an error of the library, if it has one."""
    found = re.search(r"status code: (\d{3})", text)
    return int(found[1]) if found else None


_METADATA_SERVER = "169.254.169.254"
_MAY_PASS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_LONGEST_MESSAGE = 600


def _store(uri: ObjectStoreUri, environ: Mapping[str, str]) -> Store:
    client: ClientConfig = {
        "allow_http": True,  # of an endpoint that says so
        "connect_timeout": timedelta(seconds=20),
        "read_timeout": timedelta(seconds=30),
        "timeout": timedelta(hours=1),  # of a whole part
    }
    if file := environ.get("AWS_CA_BUNDLE") or environ.get("SSL_CERT_FILE"):
        client["root_certificate"] = Path(file).read_bytes()
    if authorities := certificate_authorities(environ):
        client["root_certificate"] = authorities
    retries: RetryConfig = {"max_retries": 0}  # ours are the same for all sources
    if uri.scheme == "s3":
        return S3Store(uri.bucket, client_options=client, retry_config=retries)
    if uri.scheme == "gs":
        return GCSStore(uri.bucket, client_options=client, retry_config=retries)
    account: AzureConfig = {"account_name": uri.account} if uri.account else {}
    return AzureStore(uri.bucket, config=account, client_options=client, retry_config=retries)


def _first_line(error: Exception) -> str:
    """The message without the library's dump of its structures, and without queries, which may be signatures."""
    text = " ".join(str(error).partition("\n\nDebug source")[0].split())
    return re.sub(r"\?\S+", "", text)[:_LONGEST_MESSAGE]
