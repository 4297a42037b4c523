"""http:// and https://: one file, which may be an archive."""

from collections.abc import Mapping
from http import HTTPStatus

from embedding_runtime.contract import DownloadVerdict, HttpUri
from embedding_runtime.storage.authorities import certificate_authorities
from embedding_runtime.storage.client import Client, Fixed, Refused
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.http import WebSource, stated_size
from embedding_runtime.storage.source import Digest, Listing, RemoteFile

__all__ = ["HttpSource", "open_source"]

_AUTHORIZATION = "HTTP_AUTHORIZATION"
"""Variable with the value of the header, such as `Bearer TOKEN`."""


def open_source(uri: HttpUri, environ: Mapping[str, str]) -> "HttpSource":
    """The source for a URI. Raises NoModel for settings that are not valid."""
    authorization = environ.get(_AUTHORIZATION, "").strip() or None
    if not all(" " <= letter <= "~" for letter in authorization or ""):
        message = f"{_AUTHORIZATION} has a character that is not valid in a header: copy it again"
        raise NoModel(DownloadVerdict.MODEL_UNAUTHORIZED, message)
    return HttpSource(uri, authorization, certificate_authorities(environ))


class HttpSource(WebSource):
    """A file of a web server."""

    def __init__(self, uri: HttpUri, authorization: str | None, authorities: str | None) -> None:
        self.about, self.server = f"{uri}: ", uri.host
        self._uri, self._authorization = uri, authorization
        self._client = Client(authorities, Fixed({"Authorization": authorization}) if authorization else None)

    def list(self) -> Listing:
        """Asks for the first byte: not every server answers HEAD, and the answer shows whether it has ranges."""
        try:
            with self._client.get(self._uri.url, {"Range": "bytes=0-0"}) as response:
                has_ranges = response.status == HTTPStatus.PARTIAL_CONTENT
                size = stated_size(response)
                etag = response.headers.get("ETag")
        except Refused as error:
            raise self._no_model(error) from error
        if size is None:
            message = f"{self.about}the server does not say how large the file is: serve it as a plain file"
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, message)
        digest = Digest("sha256", self._uri.sha256) if self._uri.sha256 else None
        # Without an ETag or a digest, nothing would tell that two ranges are of different versions.
        has_ranges = has_ranges and (etag is not None or digest is not None)
        file = RemoteFile(self._uri.name, size, self._uri.url, digest, etag, has_ranges)
        return Listing({file.path: file}, None, str(self._uri))

    def _no_model(self, error: Refused) -> NoModel:
        verdict, remedy = DownloadVerdict.DOWNLOAD_FAILED, ""
        if error.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
            verdict, remedy = DownloadVerdict.MODEL_NOT_FOUND, "; check the URI"
        elif error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            asked = f"with the one in {_AUTHORIZATION}" if self._authorization else "without one"
            verdict = DownloadVerdict.MODEL_UNAUTHORIZED
            remedy = f"; it wants an Authorization header, and was asked {asked}: set {_AUTHORIZATION}"
        return NoModel(verdict, f"{self.about}{error}{remedy}")
