"""Servers with a certificate of a private authority: each source trusts the authority if it is configured."""

import io
import ssl
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.retries import Retries
from support.certificates import a_certificate
from support.initializer import MODEL, files_of
from support.web_server import WebServer


@dataclass(frozen=True)
class Server:
    """A web server with model.zip, and the certificate that vouches for it."""

    url: str
    certificate: str


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("tls")
    authority = a_certificate(directory / "authority", "-addext", "basicConstraints=critical,CA:TRUE")
    own = a_certificate(
        directory / "own",
        *("-CA", str(authority), "-CAkey", str(authority.with_suffix(".key"))),
        *("-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"),
    )
    with zipfile.ZipFile(directory / "model.zip", "w") as archive:
        for name, content in MODEL.items():
            archive.writestr(name, content)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(own, own.with_suffix(".key"))
    with WebServer(directory, tls=tls) as web:
        yield Server(web.url, authority.read_text())


def download(uri: str, into: Path, environ: Mapping[str, str]) -> None:
    log = Log(io.StringIO(), ())
    fetch(uri, into, environ, log, Retries(log.say, lambda _: None))


def test_an_archive_is_downloaded(server: Server, tmp_path: Path) -> None:
    download(f"{server.url}/model.zip", tmp_path / "models", {"CA_CERTIFICATES": server.certificate})
    assert files_of(tmp_path / "models") == MODEL


@pytest.mark.parametrize(
    ("uri", "answer"),
    [
        ("hf://owner/name", "has no repository owner/name"),
        ("s3://bucket/model", "404 Not Found"),
        ("gs://bucket/model", "404 Not Found"),
        ("az://bucket/model", "404 Not Found"),
    ],
)
def test_the_answer_of_the_server_is_read(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str, answer: str
) -> None:
    environ = {
        "HF_ENDPOINT": server.url,
        "AWS_ENDPOINT_URL": server.url,
        "AWS_SKIP_SIGNATURE": "true",
        "GOOGLE_BASE_URL": server.url,
        "GOOGLE_SKIP_SIGNATURE": "true",
        "AZURE_STORAGE_ACCOUNT_NAME": "me",
        "AZURE_STORAGE_ENDPOINT": server.url,
        "AZURE_SKIP_SIGNATURE": "true",
    }
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(NoModel, match=answer):
        download(uri, tmp_path / "models", {**environ, "CA_CERTIFICATES": server.certificate})
    with pytest.raises(NoModel, match="attempt 4 failed"):
        download(uri, tmp_path / "models", environ)


def test_what_is_not_a_certificate_is_reported(tmp_path: Path) -> None:
    with pytest.raises(NoModel, match="CA_CERTIFICATES has no certificates"):
        download("https://host.example/model.zip", tmp_path / "models", {"CA_CERTIFICATES": "none"})
