"""hf://: a repository of a Hugging Face hub, or of a mirror at HF_ENDPOINT."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Self
from urllib.parse import quote

from embedding_runtime.contract import DownloadVerdict, HuggingFaceUri
from embedding_runtime.storage.authorities import certificate_authorities
from embedding_runtime.storage.client import Client, FixedHeaders, Refused
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.http import WebSource, endpoint_of, read_all
from embedding_runtime.storage.parse import parse_json
from embedding_runtime.storage.source import Digest, Listing, RemoteFile, by_path
from embedding_runtime.storage.token import VARIABLE, read_token

__all__ = ["Hub", "HubSource", "open_source"]

_PUBLIC = "https://huggingface.co"


@dataclass(frozen=True)
class Hub:
    """URL of a hub, and the token, if there is one."""

    endpoint: str
    token: str | None = field(repr=False)
    token_place: str = VARIABLE
    """Where the token is or would be, for messages."""
    authorities: str | None = None
    """Certificates that are trusted besides the system's."""

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Self:
        """Read HF_ENDPOINT and the token; empty means not set. Raises NoModel for invalid values."""
        endpoint = endpoint_of(environ, "HF_ENDPOINT", _PUBLIC)
        token, place = read_token(environ)
        return cls(endpoint, token, place, certificate_authorities(environ))


def open_source(uri: HuggingFaceUri, environ: Mapping[str, str]) -> "HubSource":
    """The source for a URI. Raises NoModel."""
    return HubSource(f"{uri}: ", uri.repo_id, uri.revision, Hub.from_environ(environ))


_COMMIT = re.compile(r"[0-9A-Za-z]{1,64}")
"""Mirrors may have digests of other lengths than git's."""
_SHA1 = re.compile(r"[0-9a-f]{40}")


class HubSource(WebSource):
    """A repository at a revision."""

    def __init__(self, about: str, repo_id: str, revision: str | None, hub: Hub) -> None:
        """`about`: what messages begin with."""
        self.about, self.server = about, hub.endpoint
        self.repo_id, self.revision, self.hub = repo_id, revision, hub
        self._client = Client(
            hub.authorities, FixedHeaders({"Authorization": f"Bearer {hub.token}"}) if hub.token else None
        )

    def list(self) -> Listing:
        revision = f"/revision/{quote(self.revision, safe='')}" if self.revision else ""
        url = f"{self.hub.endpoint}/api/models/{self.repo_id}{revision}"
        try:
            with self._client.get(f"{url}?blobs=true") as response:
                return self._listing(parse_json(read_all(response)))
        except Refused as error:
            raise self._no_model(error) from error
        except (ValueError, KeyError, TypeError) as error:
            raise NoModel(
                DownloadVerdict.DOWNLOAD_FAILED,
                f"{self.about}the response of {self.hub.endpoint} is not from a Hugging Face hub "
                f"({type(error).__name__}: {error}): check HF_ENDPOINT",
            ) from error

    def _listing(self, info: Mapping[str, Any]) -> Listing:
        commit = str(info["sha"])
        if not _COMMIT.fullmatch(commit):  # it becomes a directory of code
            raise ValueError(f"the commit {commit[:100]!r} is none")
        if _SHA1.fullmatch(self.revision or "") and commit != self.revision:  # or pods of one revision would differ
            raise ValueError(f"it has commit {commit} for {self.revision}")
        root = f"{self.hub.endpoint}/{self.repo_id}/resolve/{quote(commit, safe='')}"
        files = (
            RemoteFile(path, int(each["size"]), f"{root}/{quote(path)}", _digest(each))
            for each in info["siblings"]
            if (path := str(each["rfilename"]))
        )
        return Listing(by_path(files), commit, f"{self.repo_id} at {self.hub.endpoint}")

    def _no_model(self, error: Refused) -> NoModel:
        """The verdict on an answer of the hub."""
        repo, endpoint, token = self.repo_id, self.hub.endpoint, self.hub.token
        place = self.hub.token_place
        asked = f"with the token in {place}" if token else "without a token"
        code = error.headers.get("X-Error-Code")
        denied = error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)
        verdict, words = DownloadVerdict.DOWNLOAD_FAILED, f"{endpoint}: {error}"
        if code == "RevisionNotFound":
            verdict = DownloadVerdict.MODEL_NOT_FOUND
            words = f"{repo} at {endpoint} has no revision {self.revision!r}: use one of its branches, tags or commits"
        elif code == "GatedRepo":
            verdict = DownloadVerdict.MODEL_UNAUTHORIZED
            words = (
                f"{repo} at {endpoint} is gated, and was requested {asked}: accept its terms and use that account's "
                "token"
            )
        elif error.status == HTTPStatus.NOT_FOUND or (error.status == HTTPStatus.UNAUTHORIZED and not token):
            # A hub does not reveal which repositories exist. Whether one is private or missing, it answers 401 without
            # a token and 404 with a token that has no access.
            maybe = (
                f"it is private and the token in {place} has no access"
                if token
                else f"it is private and {place} is {'not set' if place == VARIABLE else 'empty'}"
            )
            verdict = DownloadVerdict.MODEL_NOT_FOUND
            words = f"{endpoint} has no repository {repo}, or {maybe}: check the name and the token"
        elif denied:
            verdict = DownloadVerdict.MODEL_UNAUTHORIZED
            words = f"{endpoint} denied access to {repo} {asked}: {error}; check that the token is valid"
        return NoModel(verdict, f"{self.about}{words}")


def _digest(file: Mapping[str, Any]) -> Digest | None:
    """A hub lists SHA-256 of large files and git's blob id of others; some mirrors list neither."""
    lfs = file.get("lfs")
    if lfs:
        return Digest("sha256", str(lfs["sha256"]))
    return Digest("git", str(file["blobId"])) if file.get("blobId") else None
