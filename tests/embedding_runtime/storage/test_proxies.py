"""Downloads through a proxy: the servers have names that only the proxy can reach."""

import os
import zipfile
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from urllib3.util import parse_url

from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.proxies import Proxies
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


BAD = ["http://user:hush@h:999999", "http://user:hu/sh@h:9", "socks5://user:hush@h:9", "http://[::1", "user:hush"]


@pytest.mark.parametrize("proxy", BAD)
@pytest.mark.parametrize("variable", ["HTTP_PROXY", "ALL_PROXY"])
def test_a_proxy_that_is_none_is_refused_by_the_name_of_its_variable(
    proxy: str, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_proxies(monkeypatch)
    monkeypatch.setenv(variable, proxy)
    with pytest.raises(NoModel, match=f"^{variable} is not the URL of a proxy: use http://host:port") as caught:
        Proxies().proxy_for(parse_url("http://files.example"))
    assert "hu" not in str(caught.value)


def test_the_log_does_not_have_the_password_of_such_a_proxy(tmp_path: Path) -> None:
    outcome = initialize("http://files.example/a.bin", tmp_path / "models", environ={"HTTP_PROXY": "user:hush"})
    assert outcome.last_line.startswith("DownloadFailed: HTTP_PROXY is not the URL of a proxy")
    assert "hush" not in outcome.log


def without_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [each for each in os.environ if each.lower().endswith("_proxy")]:
        monkeypatch.delenv(name)


def proxy_for(url: str, excluded: str, monkeypatch: pytest.MonkeyPatch) -> str | None:
    without_proxies(monkeypatch)
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", excluded)
    proxy = Proxies().proxy_for(parse_url(url))
    return proxy and proxy.url


@pytest.mark.parametrize(
    ("excluded", "host"),
    [
        ("*", "hub.example"),
        ("example", "hub.example"),
        (".svc, .cluster.local", "hub.ns.svc"),
        ("*.svc", "hub.ns.svc"),
        ("*.svc", "HUB.ns.SVC."),
        ("hub.example:81", "hub.example:81"),
        ("hub.example:80", "hub.example"),
        ("10.1.2.3", "10.1.2.3:81"),
        ("x,10.0.0.0/8", "10.1.2.3:81"),
        ("10.9.9.9/8", "10.1.2.3:81"),
        ("::1", "[::1]:81"),
        ("[::1]", "[::1]"),
        ("[::1]:81", "[::1]:81"),
        ("fd00::/8", "[fd12::3]:81"),
    ],
)
def test_no_proxy_names_hosts_domains_addresses_and_networks(
    excluded: str, host: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert proxy_for(f"http://{host}/x", excluded, monkeypatch) is None


@pytest.mark.parametrize(
    ("excluded", "host"),
    [
        ("", "hub.example"),
        ("ample", "hub.example"),
        (".", "hub.example"),
        ("hub.example:81", "hub.example:82"),
        ("10.0.0.0/8", "11.1.2.3"),
        ("10.0.0.0/8", "10.example"),
        ("::1", "[::2]"),
    ],
)
def test_others_are_asked_through_the_proxy(excluded: str, host: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert proxy_for(f"http://{host}/x", excluded, monkeypatch) == "http://proxy.example:3128"
