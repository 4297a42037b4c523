"""oci://: an artifact or an image in an OCI registry.

An artifact's layers are the model's files, with their names in annotations, as ORAS and ModelPack push them. An image's
layers are tars, one over another, with the model in their directory `models`, as KServe's modelcars have it, or at the
top. Every manifest and layer is compared with its digest.
"""

import hashlib
import re
from collections.abc import Iterable, Mapping
from http import HTTPStatus
from typing import Any

from embedding_runtime.contract import DownloadVerdict, OciUri
from embedding_runtime.storage.authorities import certificate_authorities
from embedding_runtime.storage.client import Client, Refused
from embedding_runtime.storage.errors import Interrupted, NoModel
from embedding_runtime.storage.http import WebSource, read_all
from embedding_runtime.storage.parse import parse_json
from embedding_runtime.storage.registry_auth import RegistryAuth, credentials, is_loopback
from embedding_runtime.storage.source import Digest, Listing, RemoteFile, by_path

__all__ = ["OciSource", "open_source"]

_INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
_MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
_LARGEST_MANIFEST = 4 << 20  # what registries accept
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_TAR = re.compile(r"[.+]tar(?:[.+](gzip|zstd))?$")
_SUFFIXES = {None: ".tar", "gzip": ".tar.gz", "zstd": ".tar.zst"}
_NAMES = ("org.opencontainers.image.title", "org.cncf.model.filepath")
_IS_DIRECTORY = "io.deis.oras.content.unpack"
"""ORAS' annotation of a directory, which it packs."""


def open_source(uri: OciUri, environ: Mapping[str, str]) -> "OciSource":
    """The source for a URI. Raises NoModel for settings that are not valid."""
    insecure = environ.get("OCI_INSECURE", "").strip().lower()
    allow_http = insecure == "true" or (insecure == "" and is_loopback(uri.registry))
    return OciSource(uri, credentials(uri.registry, environ), certificate_authorities(environ), allow_http=allow_http)


class OciSource(WebSource):
    """A manifest of a repository."""

    def __init__(self, uri: OciUri, basic: str | None, authorities: str | None, *, allow_http: bool) -> None:
        """`allow_http`: use http:// instead of https://."""
        host, repository = uri.registry, uri.repository
        if host == "docker.io":
            host, repository = "registry-1.docker.io", repository if "/" in repository else f"library/{repository}"
        self.about, self.server = f"{uri}: ", f"http{'' if allow_http else 's'}://{host}"
        self._uri, self._has_credentials = uri, basic is not None
        self._root = f"{self.server}/v2/{repository}"
        auth = RegistryAuth(self.about, f"repository:{repository}:pull", basic, self.server)
        self._client = Client(authorities, auth)

    def list(self) -> Listing:
        try:
            digest, manifest = self._manifest(self._uri.digest or self._uri.tag or "latest")
            if manifest.get("mediaType") in _INDEXES or "manifests" in manifest:
                _, manifest = self._manifest(_digest(_preferred(manifest["manifests"])))
            files = by_path(self._file(number, layer) for number, layer in enumerate(manifest["layers"]))
        except Refused as error:
            raise self._no_model(error) from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            message = (
                f"{self.about}{self.server} has no manifest there that can be read ({type(error).__name__}: {error})"
            )
            raise NoModel(DownloadVerdict.DOWNLOAD_FAILED, f"{message}: check the URI") from error
        return Listing(files, digest, str(self._uri))

    def _manifest(self, reference: str) -> tuple[str, Mapping[str, Any]]:
        """A manifest or an index, and its digest. Raises Refused, Interrupted, ValueError."""
        accept = {"Accept": ", ".join(_MANIFESTS + _INDEXES)}
        with self._client.get(f"{self._root}/manifests/{reference}", accept) as response:
            body = read_all(response, _LARGEST_MANIFEST)
            stated = response.headers.get("Docker-Content-Digest", "")
        found = f"sha256:{hashlib.sha256(body).hexdigest()}"
        expected = reference if _DIGEST.fullmatch(reference) else stated
        if _DIGEST.fullmatch(expected) and found != expected:
            raise Interrupted(f"the digest of the manifest {reference} is {found}, not {expected}")
        manifest = parse_json(body)
        if manifest.get("schemaVersion") != 2:  # noqa: PLR2004
            raise ValueError("its schemaVersion is not 2")
        return found, manifest

    def _file(self, number: int, layer: Mapping[str, Any]) -> RemoteFile:
        """The file that a layer is. Raises ValueError."""
        digest, media_type, notes = _digest(layer), str(layer.get("mediaType")), layer.get("annotations") or {}
        name = next((str(notes[each]) for each in _NAMES if each in notes), None)
        tar = _TAR.search(media_type)
        # ORAS gives the type of a tar to any file; ModelPack states whether a file is packed by its type alone.
        is_layer = notes.get(_IS_DIRECTORY) == "true" or (tar and (name is None or ".cncf.model." in media_type))
        if is_layer and tar:
            name = f"layer-{number}{_SUFFIXES[tar[1]]}"
        if name is None or (is_layer and not tar):
            raise ValueError(f"layer {number} of type {media_type} has no name and is no tar")
        checked = Digest("sha256", digest.removeprefix("sha256:"))
        return RemoteFile(name, int(layer["size"]), f"{self._root}/blobs/{digest}", checked, is_layer=bool(is_layer))

    def _no_model(self, error: Refused) -> NoModel:
        verdict, remedy = DownloadVerdict.DOWNLOAD_FAILED, ""
        asked = "with the credentials given" if self._has_credentials else "without credentials"
        configure = "set OCI_USERNAME and OCI_PASSWORD, or OCI_AUTH_CONFIG"
        if error.status == HTTPStatus.NOT_FOUND:
            verdict, remedy = DownloadVerdict.MODEL_NOT_FOUND, "; check the repository and its tag or digest"
        elif error.status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            verdict = DownloadVerdict.MODEL_UNAUTHORIZED
            remedy = f"; it was asked {asked}: {configure}, and check that the repository exists"
        return NoModel(verdict, f"{self.about}{self.server}: {error}{remedy}")


def _digest(descriptor: Mapping[str, Any]) -> str:
    digest = str(descriptor["digest"])
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"the digest {digest[:100]!r} is not a SHA-256")
    return digest


def _preferred(manifests: Iterable[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The manifest of an index that is for all platforms, or else for amd64: models are the same for all."""

    def rank(manifest: Mapping[str, Any]) -> int:
        platform = manifest.get("platform") or {}
        return 0 if not platform else 1 if platform.get("architecture") == "amd64" else 2

    candidates = [
        each
        for each in manifests
        if each.get("mediaType") in _MANIFESTS and (each.get("platform") or {}).get("os") != "unknown"  # attestations
    ]
    if not candidates:
        raise ValueError("the index has no image")
    return min(candidates, key=rank)
