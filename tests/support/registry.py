"""An OCI registry that runs on this machine (distribution's, which Docker's is), and what ORAS and Docker push to it.

`make tests/servers/synced` installs it with Go; where it is not there, its tests are skipped.
"""

import hashlib
import io
import json
import shutil
import subprocess
import tarfile
import urllib.request
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from support.ports import a_free_port
from support.storage_servers import wait_for_port

__all__ = ["IMAGE", "INDEX", "Registry", "a_layer", "a_registry", "of_file"]

_BINARY = Path(__file__).parents[1] / "servers" / "bin" / "registry"
IMAGE = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
_TAR = "application/vnd.oci.image.layer.v1.tar"

Layer = tuple[Mapping[str, Any], bytes]
"""A descriptor without its digest and size, and the content."""


@dataclass(frozen=True)
class Registry:
    """A running registry."""

    port: int
    authorization: str | None = None
    """Of requests that push."""

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"

    def push(self, repository: str, layers: Sequence[Layer], tag: str = "latest", **manifest: Any) -> str:
        """Push layers and their manifest. Returns the manifest's digest."""
        return self.push_manifest(repository, {**self.manifest(repository, layers), **manifest}, tag)

    def manifest(self, repository: str, layers: Sequence[Layer]) -> dict[str, Any]:
        """Push layers. Returns their manifest."""
        described = [{**descriptor, **self.push_blob(repository, content)} for descriptor, content in layers]
        config = {"mediaType": "application/vnd.oci.empty.v1+json", **self.push_blob(repository, b"{}")}
        return {"schemaVersion": 2, "mediaType": IMAGE, "config": config, "layers": described}

    def push_manifest(self, repository: str, manifest: Mapping[str, Any], tag: str | None = "latest") -> str:
        body = json.dumps(manifest).encode()
        digest = _digest(body)
        headers = {"Content-Type": manifest["mediaType"]}
        self._request("PUT", f"http://{self.host}/v2/{repository}/manifests/{tag or digest}", body, headers)
        return digest

    def push_blob(self, repository: str, content: bytes) -> dict[str, Any]:
        """Push a blob. Returns its digest and size."""
        place = self._request("POST", f"http://{self.host}/v2/{repository}/blobs/uploads/", b"", {})
        headers = {"Content-Type": "application/octet-stream"}
        self._request("PUT", f"{place}&digest={_digest(content)}", content, headers)
        return {"digest": _digest(content), "size": len(content)}

    def _request(self, method: str, url: str, body: bytes, headers: Mapping[str, str]) -> str:
        allowed = {"Authorization": self.authorization} if self.authorization else {}
        request = urllib.request.Request(url, body, {**headers, **allowed}, method=method)
        with urllib.request.urlopen(request, timeout=10) as response:
            return str(response.headers.get("Location"))


def of_file(name: str, content: bytes, media_type: str = _TAR) -> Layer:
    """A file, as ORAS pushes it."""
    return {"mediaType": media_type, "annotations": {"org.opencontainers.image.title": name}}, content


def a_layer(files: Mapping[str, bytes] | Iterable[tarfile.TarInfo], compression: str = "", **descriptor: Any) -> Layer:
    """A layer of an image, as Docker builds it. `compression`: gz or empty."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=f"w:{compression}") as archive:  # type: ignore[call-overload] # a literal
        for each in files.items() if isinstance(files, Mapping) else files:
            member, content = (each, b"") if isinstance(each, tarfile.TarInfo) else (tarfile.TarInfo(each[0]), each[1])
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return {"mediaType": f"{_TAR}{'+gzip' if compression else ''}", **descriptor}, out.getvalue()


@contextmanager
def a_registry(
    directory: Path, auth: Mapping[str, Any] | None = None, tls: tuple[Path, Path] | None = None
) -> Iterator[Registry]:
    """Start a registry that keeps its data in a directory. `auth`, `tls`: as its configuration has them."""
    if shutil.which(_BINARY) is None:
        pytest.skip(f"{_BINARY} is not installed: make tests/servers/synced")
    port = a_free_port()
    http: dict[str, Any] = {"addr": f"127.0.0.1:{port}", "relativeurls": False}
    if tls is not None:
        http["tls"] = {"certificate": str(tls[0]), "key": str(tls[1])}
    config = {
        "version": 0.1,
        "log": {"accesslog": {"disabled": True}},
        "storage": {"filesystem": {"rootdirectory": str(directory)}},
        "http": http,
        **({"auth": auth} if auth else {}),
    }
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "config.yml"
    file.write_text(json.dumps(config))
    environment = {"OTEL_TRACES_EXPORTER": "none"}
    command = [str(_BINARY), "serve", str(file)]
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(process, port)
            yield Registry(port)
        finally:
            process.kill()


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
