"""ms://: a repository of ModelScope, or of a mirror at MODELSCOPE_ENDPOINT.

The API is that of the official client, modelscope_hub (`_legacy_api.py`): a listing has the size and the SHA-256 of
each file, but no commit.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import urlencode

from embedding_runtime.contract import DownloadVerdict, ModelScopeUri
from embedding_runtime.storage.authorities import certificate_authorities
from embedding_runtime.storage.client import Client, FixedHeaders, Refused
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.http import WebSource, endpoint_of, read_all
from embedding_runtime.storage.parse import parse_json
from embedding_runtime.storage.source import Digest, Listing, RemoteFile, by_path
from embedding_runtime.storage.token import check_token

__all__ = ["ModelScopeSource", "open_source"]

_ENDPOINT, _TOKEN = "MODELSCOPE_ENDPOINT", "MODELSCOPE_API_TOKEN"
_PUBLIC = "https://www.modelscope.cn"
_DEFAULT_REVISION = "master"
_LONGEST_MESSAGE = 200
_CUT_OFF = 3000
"""Entries after which ModelScope ends a listing without saying so."""


def open_source(uri: ModelScopeUri, environ: Mapping[str, str]) -> "ModelScopeSource":
    """The source for a URI. Raises NoModel for settings that are not valid."""
    endpoint = endpoint_of(environ, _ENDPOINT, _PUBLIC)
    token = check_token(environ.get(_TOKEN, ""), _TOKEN, forbidden=',;"\\')  # which end a cookie
    return ModelScopeSource(uri, endpoint, token, certificate_authorities(environ))


class ModelScopeSource(WebSource):
    """A repository at a branch or tag."""

    def __init__(self, uri: ModelScopeUri, endpoint: str, token: str | None, authorities: str | None) -> None:
        self.about, self.server = f"{uri}: ", endpoint
        self._uri, self._has_token = uri, token is not None
        self._root = f"{endpoint}/api/v1/models/{uri.repo_id}/repo"
        self._revision = uri.revision or _DEFAULT_REVISION
        # Some of its services read one of the headers, some the other.
        secrets = {"Authorization": f"Bearer {token}", "Cookie": f"m_session_id={token}"} if token else {}
        self._client = Client(authorities, FixedHeaders(secrets))

    def list(self) -> Listing:
        try:
            query = urlencode({"Revision": self._revision, "Recursive": "true"})
            with self._client.get(f"{self._root}/files?{query}") as response:
                return self._listing(parse_json(read_all(response)))
        except Refused as error:
            raise self._no_model(error) from error
        except (ValueError, KeyError, TypeError) as error:
            message = f"the response of {self.server} is not from ModelScope ({type(error).__name__}: {error})"
            raise self._failed(f"{message}: check {_ENDPOINT}") from error

    def _listing(self, answer: Mapping[str, Any]) -> Listing:
        """Raises NoModel, Refused, and the errors of an answer of another shape."""
        if answer["Code"] != HTTPStatus.OK:
            raise Refused(int(answer["Code"]), str(answer.get("Message"))[:_LONGEST_MESSAGE], {})
        entries = answer["Data"]["Files"]
        if len(entries) >= _CUT_OFF:
            message = f"it has {_CUT_OFF} files or more, and ModelScope lists no more than these"
            raise self._failed(f"{message}: copy the model to another source")
        files = by_path(self._file(each) for each in entries if each["Type"] != "tree")
        return Listing(files, None, f"{self._uri.repo_id} at {self.server}")

    def _file(self, entry: Mapping[str, Any]) -> RemoteFile:
        path, sha256 = str(entry["Path"]), entry.get("Sha256")
        digest = Digest("sha256", str(sha256).lower()) if sha256 else None
        location = f"{self._root}?{urlencode({'Revision': self._revision, 'FilePath': path})}"
        # Without a digest, nothing would tell that two ranges are of different versions.
        return RemoteFile(path, int(entry["Size"]), location, digest, has_ranges=digest is not None)

    def _failed(self, message: str) -> NoModel:
        return NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{self.about}{message}")

    def _no_model(self, error: Refused) -> NoModel:
        verdict, remedy = DownloadVerdict.DOWNLOAD_FAILED, ""
        asked = f"with the token in {_TOKEN}" if self._has_token else f"without a token ({_TOKEN} is not set)"
        if error.status == HTTPStatus.NOT_FOUND:
            verdict = DownloadVerdict.MODEL_NOT_FOUND
            what = f"{self._uri.repo_id} at revision {self._revision}"
            remedy = f"; it has no {what}, or it is private and was requested {asked}: check the name and the token"
        elif error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            verdict, remedy = DownloadVerdict.MODEL_UNAUTHORIZED, f"; it was requested {asked}: check the token"
        return NoModel(verdict, f"{self.about}{self.server}: {error}{remedy}")
