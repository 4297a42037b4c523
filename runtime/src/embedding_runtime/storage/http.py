"""Requests over HTTP: one client for all sources that speak it, ranges of bytes, and which failures may pass."""

import email.utils
import ssl
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http import HTTPStatus
from urllib.parse import urlsplit

import httpcore2
import httpx2

from embedding_runtime.contract import DownloadVerdict
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.source import RemoteFile

__all__ = ["Refused", "WebSource", "endpoint_of", "new_client", "read_all", "read_range", "request"]

_TIMEOUT = httpx2.Timeout(30, connect=20)
"""Seconds without a byte; proxies and certificate authorities come from the environment, as for other programs."""

httpcore2.HTTP11Connection.READ_NUM_BYTES = 512 << 10
"""Instead of 64 KiB: a large file takes a fifth less CPU time, since Python is entered an eighth as often."""

_MAY_PASS = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})
_LONGEST_MESSAGE = 1000
_LONGEST_LISTING = 32 << 20


class Refused(Exception):
    """A status of the request itself, which a retry cannot change."""

    def __init__(self, status: int, words: str, headers: Mapping[str, str]) -> None:
        super().__init__(f"the server answered {status} {words}".strip())
        self.status, self.words, self.headers = status, words, headers


class _AnotherFile(Refused):
    """The server has another file than the one that is expected, although it does not say so."""

    def __init__(self, words: str, headers: Mapping[str, str]) -> None:
        super().__init__(HTTPStatus.PRECONDITION_FAILED, words, headers)
        self.args = (words,)


def endpoint_of(environ: Mapping[str, str], variable: str, default: str) -> str:
    """URL of a hub from a variable; empty means not set. Raises NoModel."""
    endpoint = (environ.get(variable) or default).rstrip("/")
    url = urlsplit(endpoint)
    if url.scheme not in ("http", "https") or not url.netloc:
        message = f"{variable}={endpoint} is not a URL of a hub: use https://host"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)
    return endpoint


def new_client(authorities: str | None, authorization: str | None, auth: httpx2.Auth | None = None) -> httpx2.Client:
    """A client for several threads. A redirect to another host gets no Authorization header.

    `authorities`: certificates that are trusted besides the system's.
    """
    headers = {"User-Agent": "embedding-storage", "Accept-Encoding": "identity"}
    if authorization is not None:
        headers["Authorization"] = authorization
    context = ssl.create_default_context()
    if authorities is not None:
        context.load_verify_locations(cadata=authorities)
    return httpx2.Client(headers=headers, timeout=_TIMEOUT, follow_redirects=True, verify=context, auth=auth)


@contextmanager
def request(
    client: httpx2.Client, url: str, headers: Mapping[str, str] | None = None, params: Mapping[str, str] | None = None
) -> Iterator[httpx2.Response]:
    """A response whose body is not read yet. Raises Interrupted, Refused; the former also while the block reads."""
    try:
        with client.stream("GET", url, headers=headers, params=params) as response:
            if response.is_success:
                yield response
                return
            words = response.headers.get("X-Error-Message") or response.reason_phrase
            if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or response.status_code in _MAY_PASS:
                retry_after = _seconds(response.headers.get("Retry-After", ""))
                message = f"the server answered {response.status_code} {words}"
                raise Interrupted(message[:_LONGEST_MESSAGE].strip(), retry_after)
            raise Refused(response.status_code, words[:_LONGEST_MESSAGE], response.headers)
    except httpx2.TimeoutException as error:
        raise Interrupted(f"the request timed out ({type(error).__name__})") from error
    except httpx2.RequestError as error:
        raise Interrupted(f"the connection failed ({error or type(error).__name__})") from error


def read_range(client: httpx2.Client, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
    """The bytes of a file from `start`; the server decides whether it stops at `stop`. Raises Interrupted, Refused.

    A file that ends before `start` has none.
    """
    try:
        yield from _read_range(client, file, start, stop)
    except Refused as error:
        if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise


def _read_range(client: httpx2.Client, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
    with request(client, file.location, {"Range": f"bytes={start}-{stop - 1}"}) as response:
        found = response.headers.get("ETag")
        if file.etag is not None and found is not None and found != file.etag:
            raise _AnotherFile("the file changed while it was downloaded", response.headers)
        is_partial = response.status_code == HTTPStatus.PARTIAL_CONTENT
        sent_range = response.headers.get("Content-Range", "")
        if is_partial and not sent_range.startswith(f"bytes {start}-"):
            raise Interrupted(f"asked for bytes {start}-{stop - 1}, got {sent_range}")
        size = sent_range.rpartition("/")[2] if is_partial else response.headers.get("Content-Length", "")
        if size.isdecimal() and int(size) > file.size:  # one that is too short is detected at its end
            raise _AnotherFile(f"{file.path} has {size} bytes, but {file.size} are listed", response.headers)
        skip = 0 if is_partial else start
        for chunk in response.iter_raw():
            if skip < len(chunk):
                yield chunk[skip:]
            skip = max(skip - len(chunk), 0)


class WebSource(ABC):
    """What all sources of one HTTP client share: the `read` and `close` of a Source."""

    _client: httpx2.Client

    def read(self, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
        """Part of a file. Raises NoModel, Interrupted."""
        try:
            yield from read_range(self._client, file, start, stop)
        except Refused as error:
            raise self._no_model(error) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    @abstractmethod
    def _no_model(self, error: Refused) -> NoModel:
        """The verdict on a refused request."""


def read_all(response: httpx2.Response, most: int = _LONGEST_LISTING) -> bytes:
    """The whole body. Raises ValueError if it is longer than a listing of files can be."""
    body = bytearray()
    for chunk in response.iter_bytes():
        body += chunk
        if len(body) > most:
            raise ValueError(f"a response of more than {most} bytes")
    return bytes(body)


def _seconds(retry_after: str) -> float | None:
    """A number of seconds or a date."""
    if retry_after.isdecimal():
        return float(retry_after)
    try:
        return max((email.utils.parsedate_to_datetime(retry_after) - datetime.now(UTC)).total_seconds(), 0.0)
    except (TypeError, ValueError):
        return None
