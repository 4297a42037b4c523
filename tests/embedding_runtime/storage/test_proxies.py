"""Downloads through a proxy: the servers have names that only the proxy can reach."""

import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.fake_hub import FakeHub
from support.forward_proxy import ForwardProxy
from support.initializer import MODEL, a_model, files_of, initialize
from support.storage_servers import running
from support.web_server import WebServer


def test_a_hub_is_reached_through_a_proxy(tmp_path: Path) -> None:
    served = a_model(tmp_path / "served")
    with FakeHub({"owner/name": served}) as hub, ForwardProxy(urlsplit(hub.url).port or 0) as proxy:
        environment = {"HF_ENDPOINT": "http://hub.example", "HTTP_PROXY": proxy.url}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environment)
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL
    assert {urlsplit(url).netloc for url in proxy.seen} == {"hub.example"}


def test_a_web_server_is_reached_through_a_proxy(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.zip", "w") as archive:
        for name, content in MODEL.items():
            archive.writestr(name, content)
    with WebServer(tmp_path) as server, ForwardProxy(server.port) as proxy:
        outcome = initialize("http://files.example/model.zip", tmp_path / "models", environ={"HTTP_PROXY": proxy.url})
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL
    assert proxy.seen


@pytest.mark.parametrize("variable", ["HTTP_PROXY", "http_proxy"])
def test_an_object_store_is_reached_through_a_proxy(tmp_path: Path, variable: str) -> None:
    with running("s3", tmp_path) as store, ForwardProxy(store.port) as proxy:
        uri = store.put("model", MODEL)
        environment = {**store.environment(store.port), "AWS_ENDPOINT_URL": "http://s3.example", variable: proxy.url}
        outcome = initialize(uri, tmp_path / "models", environ=environment)
    assert outcome.code == 0, outcome.log
    assert files_of(tmp_path / "models") == MODEL
    assert proxy.seen


def test_no_proxy_excludes_hosts(tmp_path: Path) -> None:
    served = a_model(tmp_path / "served")
    with FakeHub({"owner/name": served}) as hub, ForwardProxy(urlsplit(hub.url).port or 0) as proxy:
        environment = {"HF_ENDPOINT": hub.url, "HTTP_PROXY": proxy.url, "NO_PROXY": "127.0.0.1"}
        outcome = initialize("hf://owner/name", tmp_path / "models", environ=environment)
    assert outcome.code == 0, outcome.log
    assert proxy.seen == []
