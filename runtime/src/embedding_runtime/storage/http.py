"""Files and listings of web servers, for the sources that read them over HTTP."""

from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from urllib3 import BaseHTTPResponse

from embedding_runtime.contract import DownloadVerdict, without_secrets
from embedding_runtime.storage.client import Client, Refused
from embedding_runtime.storage.errors import Interrupted, NoModel, RangeIgnored
from embedding_runtime.storage.source import RemoteFile

__all__ = ["WebSource", "endpoint_of", "read_all", "read_range", "stated_size"]

_CHUNK = 1 << 20
"""Most bytes that are received at a time."""

_LONGEST_LISTING = 32 << 20
_MOST_DIGITS = 20
"""Of a size. Python parses no number of thousands of digits."""


class _AnotherFile(Refused):
    """The server has another file than the one that is expected, although it does not say so."""

    def __init__(self, words: str, headers: Mapping[str, str]) -> None:
        super().__init__(HTTPStatus.PRECONDITION_FAILED, words, headers)
        self.args = (words,)


def endpoint_of(environ: Mapping[str, str], variable: str, default: str) -> str:
    """URL of a hub from a variable; empty means not set. Raises NoModel."""
    endpoint = (environ.get(variable) or default).rstrip("/")
    try:
        url = urlsplit(endpoint)
        is_valid = url.scheme in ("http", "https") and bool(url.hostname) and url.port != 0
    except ValueError:
        is_valid = False
    if not is_valid:
        message = f"{variable}={without_secrets(endpoint)} is not a URL of a hub: use https://host"
        raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)
    return endpoint


def read_range(client: Client, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
    """The bytes of a file from `start`; the server decides whether it stops at `stop`.

    Raises Interrupted, Refused, RangeIgnored.
    A file that ends before `start` has none.
    """
    try:
        yield from _read_range(client, file, start, stop)
    except Refused as error:
        if error.status != HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            raise


def _read_range(client: Client, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
    with client.get(file.location, {"Range": f"bytes={start}-{stop - 1}"}) as response:
        found = response.headers.get("ETag")
        # Without a digest, only the ETag tells that two ranges are of one version.
        if file.etag is not None and found != file.etag and (found is not None or file.digest is None):
            words = "the file changed while it was downloaded" if found else "a part of the file came without an ETag"
            raise _AnotherFile(words, response.headers)
        is_partial = response.status == HTTPStatus.PARTIAL_CONTENT
        if not is_partial and (start > 0 or stop < file.size) and file.has_ranges:
            raise RangeIgnored
        sent_range = response.headers.get("Content-Range", "")
        if is_partial and not sent_range.startswith(f"bytes {start}-"):
            raise Interrupted(f"asked for bytes {start}-{stop - 1}, got {sent_range}")
        size = stated_size(response)
        if size is not None and size > file.size:  # one that is too short is detected at its end
            raise _AnotherFile(f"{file.path} has {size} bytes, but {file.size} are listed", response.headers)
        while chunk := response.read1(_CHUNK):
            yield chunk


def stated_size(response: BaseHTTPResponse) -> int | None:
    """Bytes of the whole file, as the headers of a response with all or a part of it have them."""
    if response.status == HTTPStatus.PARTIAL_CONTENT:
        text = response.headers.get("Content-Range", "").rpartition("/")[2]
    else:
        text = response.headers.get("Content-Length", "")
    return int(text) if text.isdecimal() and len(text) <= _MOST_DIGITS else None


class WebSource(ABC):
    """What all sources of one client share: the `read` and `close` of a Source."""

    _client: Client

    def read(self, file: RemoteFile, start: int, stop: int) -> Generator[bytes, None, None]:
        """Part of a file. Raises NoModel, Interrupted, RangeIgnored."""
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


def read_all(response: BaseHTTPResponse, most: int = _LONGEST_LISTING) -> bytes:
    """The whole body. Raises ValueError if it is longer than a listing of files can be."""
    body = bytearray()
    while chunk := response.read(_CHUNK, decode_content=True):
        body += chunk
        if len(body) > most:
            raise ValueError(f"a response of more than {most} bytes")
    return bytes(body)
