"""URIs of models. Those that the built-in initializer does not download are foreign.

hf://owner/name[:revision], or hf://owner/name@revision
pvc://claim/path
file:///path
s3://bucket/path, gs://bucket/path, az://container/path, https://account.blob.core.windows.net/container/path
https://host/path/name.tar.gz[#sha256=DIGEST], http://...
oci://registry/repository[:tag][@sha256:DIGEST]
ms://owner/name[:revision], or ms://owner/name@revision
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal
from urllib.parse import unquote, urlsplit

from embedding_runtime.contract.uri_secrets import without_parameters, without_secrets

__all__ = [
    "SCHEMES",
    "BadUri",
    "FileUri",
    "ForeignUri",
    "HttpUri",
    "HuggingFaceUri",
    "ModelScopeUri",
    "ModelUri",
    "ObjectStoreUri",
    "OciUri",
    "PvcUri",
    "parse_uri",
]

_URI = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?P<rest>\S+)")
_REPO_PART = r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9])?"  # huggingface_hub.utils.validate_repo_id
_REPOSITORY = re.compile(rf"(?P<repo>{_REPO_PART}/{_REPO_PART})(?:[:@](?P<revision>[A-Za-z0-9._/-]+))?")
_CLAIM = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")  # a DNS subdomain, as Kubernetes names claims

_SHA256 = re.compile(r"sha256=([0-9a-fA-F]{64})")
_BUCKET = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,220}[A-Za-z0-9])?")
_AZURE_HOST = ".blob.core.windows.net"

_REGISTRY = r"(?:[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?|\[[0-9a-fA-F:]+\])(?::[0-9]{1,5})?"
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"  # of a repository, as OCI's distribution spec has it
_OCI = re.compile(
    rf"(?P<registry>{_REGISTRY})/(?P<repository>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][A-Za-z0-9._-]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)


class BadUri(ValueError):
    """Not a valid URI of a model. The message quotes it and shows the valid form."""


@dataclass(frozen=True)
class HuggingFaceUri:
    """A repository of a Hugging Face hub, at a branch, tag or commit (None: the repository's default branch)."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"hf://{self.repo_id}:{self.revision}" if self.revision else f"hf://{self.repo_id}"


@dataclass(frozen=True)
class ModelScopeUri:
    """A repository of ModelScope, at a branch or tag (None: `master`)."""

    repo_id: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"ms://{self.repo_id}:{self.revision}" if self.revision else f"ms://{self.repo_id}"


@dataclass(frozen=True)
class PvcUri:
    """A directory in a PersistentVolumeClaim of the service's own namespace."""

    claim: str
    path: PurePosixPath

    def __str__(self) -> str:
        return f"pvc://{PurePosixPath(self.claim) / self.path}"


@dataclass(frozen=True)
class FileUri:
    """A directory in the file system of the initializer."""

    path: PurePosixPath

    def __str__(self) -> str:
        return f"file://{self.path}"


@dataclass(frozen=True)
class ObjectStoreUri:
    """Objects of a bucket (of Azure: a container) below a path, or the archive there."""

    scheme: Literal["s3", "gs", "az"]
    bucket: str
    path: str
    account: str | None = None
    """Azure's, if the URI names it."""

    def __str__(self) -> str:
        root = f"https://{self.account}{_AZURE_HOST}/" if self.account else f"{self.scheme}://"
        return f"{root}{self.bucket}/{self.path}".rstrip("/")


@dataclass(frozen=True)
class HttpUri:
    """A file of a web server: an archive by its name, or a single file."""

    url: str = field(repr=False)
    """Without the fragment. The user, parameters and the query may be secrets, and are not shown."""
    sha256: str | None = None

    @property
    def host(self) -> str:
        """Scheme, host and port."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"

    @property
    def name(self) -> str:
        """Name of the file."""
        return unquote(urlsplit(self.url).path.rpartition("/")[2].partition(";")[0])

    def __str__(self) -> str:
        digest = f"#sha256={self.sha256}" if self.sha256 else ""
        return f"{self.host}{without_parameters(urlsplit(self.url).path)}{digest}"


@dataclass(frozen=True)
class OciUri:
    """An OCI artifact or image in a registry. The digest, if there is one, decides; without a tag, it is `latest`."""

    registry: str
    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag, digest = f":{self.tag}" if self.tag else "", f"@{self.digest}" if self.digest else ""
        return f"oci://{self.registry}/{self.repository}{tag}{digest}"


@dataclass(frozen=True)
class ForeignUri:
    """A URI that the built-in initializer does not support, but a storage container may."""

    scheme: str
    problem: str | None = None
    """Why not, if the scheme is supported."""


ModelUri = HuggingFaceUri | ObjectStoreUri | HttpUri | ModelScopeUri | OciUri | PvcUri | FileUri | ForeignUri


def parse_uri(text: str) -> ModelUri:
    """Parse a URI. Raises BadUri."""
    match, shown = _URI.fullmatch(text), without_secrets(text)
    if match is None:
        raise BadUri(f"{shown!r} is not a URI of a model: use scheme://..., such as hf://owner/name")
    scheme, rest = match["scheme"], match["rest"]
    if scheme not in _PARSERS:
        return ForeignUri(scheme)
    try:
        return _PARSERS[scheme](shown, scheme, rest)
    except BadUri as error:
        if scheme in _OURS:
            raise
        return ForeignUri(scheme, str(error))


def _hugging_face(text: str, _scheme: str, rest: str) -> HuggingFaceUri:
    hub = _REPOSITORY.fullmatch(rest)
    if hub is None or ".." in rest or "--" in hub["repo"]:
        raise BadUri(f"{text!r} is not a valid repository: use hf://owner/name or hf://owner/name:revision")
    return HuggingFaceUri(hub["repo"], hub["revision"])


def _modelscope(text: str, _scheme: str, rest: str) -> ModelScopeUri:
    match = _REPOSITORY.fullmatch(rest)
    if match is None or ".." in rest:
        raise BadUri(f"{text!r} is not a valid repository: use ms://owner/name or ms://owner/name:revision")
    return ModelScopeUri(match["repo"], match["revision"])


def _pvc(text: str, _scheme: str, rest: str) -> PvcUri:
    claim, _, path = rest.partition("/")
    if not _CLAIM.fullmatch(claim) or ".." in PurePosixPath(path).parts:
        raise BadUri(f"{text!r} is not a valid claim: use pvc://claim/path, without '..'")
    return PvcUri(claim, PurePosixPath(path))


def _file(text: str, _scheme: str, rest: str) -> FileUri:
    path = PurePosixPath(rest)
    if not path.is_absolute() or ".." in path.parts:
        raise BadUri(f"{text!r} is not a valid directory: use file:///absolute/path, without '..'")
    return FileUri(path)


def _object_store(text: str, scheme: str, rest: str) -> ObjectStoreUri:
    bucket, _, path = rest.partition("/")
    if not _BUCKET.fullmatch(bucket) or ".." in path.split("/"):
        raise BadUri(f"{text!r} is not a valid place in an object store: use {scheme}://bucket/path, without '..'")
    return ObjectStoreUri(scheme, bucket, path.strip("/"))  # type: ignore[arg-type] # as _PARSERS has it


def _azure(text: str, host: str, rest: str) -> ObjectStoreUri:
    if "?" in rest:
        raise BadUri(f"{text!r} has a query: put a SAS token into AZURE_STORAGE_SAS_KEY instead")
    account = host.removesuffix(_AZURE_HOST)
    container, _, path = unquote(rest).partition("/")
    if not account.isalnum() or not _BUCKET.fullmatch(container) or ".." in path.split("/"):
        form = f"https://account{_AZURE_HOST}/container/path"
        raise BadUri(f"{text!r} is not a valid place in an object store: use {form}, without '..'")
    return ObjectStoreUri("az", container, path.strip("/"), account)


def _http(text: str, scheme: str, rest: str) -> HttpUri | ObjectStoreUri:
    host, _, path = rest.partition("/")
    if host.endswith(_AZURE_HOST):
        return _azure(text, host, path)
    url, hash_mark, fragment = f"{scheme}://{rest}".partition("#")
    digest = _SHA256.fullmatch(fragment)
    uri = HttpUri(url, digest[1].lower() if digest else None)
    try:
        is_valid = bool(urlsplit(url).hostname) and urlsplit(url).port != 0
    except ValueError:
        is_valid = False
    if not is_valid or uri.name in ("", ".", "..") or (hash_mark and digest is None):
        raise BadUri(
            f"{text!r} is not a valid address of a file: use https://host/path/name.tar.gz, and #sha256= with 64 "
            "digits to verify it"
        )
    return uri


def _oci(text: str, _scheme: str, rest: str) -> OciUri:
    match = _OCI.fullmatch(rest)
    if match is None:
        raise BadUri(
            f"{text!r} is not a valid reference: use oci://registry/repository:tag or "
            "oci://registry/repository@sha256:DIGEST, with 64 digits"
        )
    return OciUri(match["registry"], match["repository"], match["tag"], match["digest"])


_PARSERS: Mapping[str, Callable[[str, str, str], ModelUri]] = {
    "hf": _hugging_face,
    "s3": _object_store,
    "gs": _object_store,
    "az": _object_store,
    "https": _http,
    "http": _http,
    "ms": _modelscope,
    "oci": _oci,
    "pvc": _pvc,
    "file": _file,
}
_OURS = frozenset({"hf", "pvc", "file"})
"""Schemes whose URIs have one form; of others, storage containers may take what the initializer cannot."""

SCHEMES = tuple(f"{scheme}://" for scheme in _PARSERS)
"""What the built-in initializer downloads."""
