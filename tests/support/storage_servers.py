"""Object stores that run on this machine, each as a process: moto is S3, Azurite Azure, fake-gcs-server Google.

`make tests/servers/synced` installs them; Azurite needs npm, and fake-gcs-server Go. Where one is not there, its tests
are skipped.
"""

import base64
import email.utils
import hmac
import shutil
import socket
import subprocess
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import obstore
import pytest
from obstore.store import AzureStore, GCSStore, S3Store

from support.ports import a_free_port

__all__ = ["STORES", "StoreServer", "gofakes3", "running", "s3_request", "wait_for_port"]

_SERVERS = Path(__file__).parents[1] / "servers"
_AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="  # published
"""Of Azurite's account devstoreaccount1."""

Store = S3Store | GCSStore | AzureStore
_CLIENT = {"allow_http": True}


@dataclass(frozen=True)
class StoreServer:
    """A running server with an empty bucket called `bucket`."""

    scheme: str
    port: int
    environment: Callable[[int], Mapping[str, str]]
    """The initializer's, for the server or a proxy at a port."""
    store: Store

    def put(self, prefix: str, files: Mapping[str, bytes]) -> str:
        """Upload files. Returns their URI."""
        for name, content in files.items():
            if self.scheme == "gs":  # the fake has no uploads by the API that the library uses
                query = urllib.parse.urlencode({"uploadType": "media", "name": f"{prefix}/{name}"})
                _request("POST", f"http://127.0.0.1:{self.port}/upload/storage/v1/b/bucket/o?{query}", {}, content)
            else:
                obstore.put(self.store, f"{prefix}/{name}", content, use_multipart=False)
        return f"{self.scheme}://bucket/{prefix}"


@contextmanager
def running(scheme: str, directory: Path, server: "_Server | None" = None) -> Iterator[StoreServer]:
    """Start a server that keeps its data in a directory. `server`: another one than in STORES."""
    port = a_free_port()
    command, environment, create = (server or STORES[scheme])(port, directory)
    if shutil.which(command[0]) is None:
        pytest.skip(f"{command[0]} is not installed: make tests/servers/synced")
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            wait_for_port(process, port)
            yield StoreServer(scheme, port, environment, create())
        finally:
            process.kill()


_Parts = tuple[list[str], Callable[[int], Mapping[str, str]], Callable[[], Store]]
_Server = Callable[[int, Path], _Parts]


def _s3(port: int, _directory: Path) -> _Parts:
    def environment(port: int) -> Mapping[str, str]:
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "aws-secret",
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_REGION": "us-east-1",
        }

    def create() -> Store:
        config = {"endpoint": f"http://127.0.0.1:{port}", "access_key_id": "key", "secret_access_key": "aws-secret"}
        s3_request("PUT", f"http://127.0.0.1:{port}/bucket", {})
        return S3Store("bucket", config=config, client_options=_CLIENT)  # type: ignore[arg-type] # a TypedDict

    python = str(_SERVERS / ".venv" / "bin" / "python")
    return [python, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)], environment, create


def gofakes3(port: int, directory: Path) -> _Parts:
    """S3, too, but fast: moto copies the whole object for each range of it."""
    _, environment, create = _s3(port, directory)
    return [str(_SERVERS / "bin" / "gofakes3"), "-backend", "memory", "-host", f"127.0.0.1:{port}"], environment, create


def _az(port: int, directory: Path) -> _Parts:
    def environment(port: int) -> Mapping[str, str]:
        return {
            "AZURE_STORAGE_ACCOUNT_NAME": "devstoreaccount1",
            "AZURE_STORAGE_ACCOUNT_KEY": _AZURITE_KEY,
            "AZURE_STORAGE_ENDPOINT": f"http://127.0.0.1:{port}/devstoreaccount1",
        }

    def create() -> Store:
        config = {"account_name": "devstoreaccount1", "account_key": _AZURITE_KEY}
        endpoint = {"endpoint": f"http://127.0.0.1:{port}/devstoreaccount1"}
        store = AzureStore("bucket", config=config | endpoint, client_options=_CLIENT)  # type: ignore[arg-type] # as above
        date, version = email.utils.formatdate(usegmt=True), "2021-12-02"
        headers = {"x-ms-date": date, "x-ms-version": version}
        resource = "/devstoreaccount1/devstoreaccount1/bucket\nrestype:container"
        signed = "\n".join(["PUT", *[""] * 11, f"x-ms-date:{date}", f"x-ms-version:{version}", resource])
        digest = hmac.digest(base64.b64decode(_AZURITE_KEY), signed.encode(), "sha256")
        headers["Authorization"] = f"SharedKey devstoreaccount1:{base64.b64encode(digest).decode()}"
        _request("PUT", f"{endpoint['endpoint']}/bucket?restype=container", headers)
        return store

    binary = str(_SERVERS / "azurite" / "node_modules" / ".bin" / "azurite-blob")
    options = ["--blobPort", str(port), "--location", str(directory), "--silent", "--skipApiVersionCheck"]
    return [binary, "--blobHost", "127.0.0.1", *options], environment, create


def _gs(port: int, _directory: Path) -> _Parts:
    def environment(port: int) -> Mapping[str, str]:
        return {"GOOGLE_BASE_URL": f"http://127.0.0.1:{port}", "GOOGLE_SKIP_SIGNATURE": "true"}

    def create() -> Store:
        _request(
            "POST", f"http://127.0.0.1:{port}/storage/v1/b", {"Content-Type": "application/json"}, b'{"name": "bucket"}'
        )
        config = {"base_url": f"http://127.0.0.1:{port}", "bearer_token": "any"}
        return GCSStore("bucket", config=config, client_options=_CLIENT)  # type: ignore[arg-type] # as above

    binary = str(_SERVERS / "bin" / "fake-gcs-server")
    options = ["-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
    return [binary, *options, "-public-host", "127.0.0.1"], environment, create


STORES: Mapping[str, _Server] = {"s3": _s3, "gs": _gs, "az": _az}


def s3_request(method: str, url: str, headers: Mapping[str, str]) -> None:
    """A request to moto, which does not check signatures, but looks for the service in them."""
    credential = "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"
    _request(method, url, {"Authorization": credential, **headers})


def _request(method: str, url: str, headers: Mapping[str, str], body: bytes | None = None) -> None:
    request = urllib.request.Request(url, body, dict(headers), method=method)
    urllib.request.urlopen(request, timeout=10).close()


def wait_for_port(process: subprocess.Popen[bytes], port: int) -> None:
    """Wait until a server that was started listens."""
    for _ in range(2400):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        assert process.poll() is None, f"{process.args!r} ended"
        time.sleep(0.05)
    raise AssertionError(f"{process.args!r} does not listen on port {port}")
