"""The way to the API server: through a proxy only where somebody says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import BaseTestServer, RawTestServer
from kubernetes.aio.client import Configuration

from embedding_operator.shell.connection import open_connection, proxy_of

Asked = tuple[BaseTestServer, list[web.BaseRequest]]


def a_configuration(host: str = "https://api.example:6443", proxy: str | None = None) -> Configuration:
    configuration = Configuration()
    configuration.host, configuration.proxy = host, proxy
    return configuration


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)


def test_there_is_none_by_itself() -> None:
    assert proxy_of(a_configuration()) is None


def test_the_kubeconfig_s_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:3128")
    assert proxy_of(a_configuration(proxy="http://kubeconfig:3128")) == "http://kubeconfig:3128"


def test_the_environment_s_is_taken_for_its_scheme(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:3128")
    assert proxy_of(a_configuration()) == "http://environment:3128"
    assert proxy_of(a_configuration("http://api.example")) is None


def test_no_proxy_names_what_is_reached_directly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://environment:3128")
    monkeypatch.setenv("NO_PROXY", "api.example")
    assert proxy_of(a_configuration()) is None


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    """A server that answers anything, and the requests that it had."""
    requests: list[web.BaseRequest] = []

    async def answer(request: web.BaseRequest) -> web.Response:
        requests.append(request)
        return web.Response()

    async with RawTestServer(answer) as server:
        yield server, requests


async def test_a_netrc_is_not_looked_into(asked: Asked, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server, requests = asked
    netrc = tmp_path / "netrc"
    netrc.write_text(f"machine {server.host} login somebody password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    await ask(a_configuration(str(server.make_url("")).rstrip("/")))
    assert "Authorization" not in requests[0].headers


async def test_requests_go_through_the_environment_s_proxy(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    server, requests = asked
    monkeypatch.setenv("HTTP_PROXY", str(server.make_url("")))
    await ask(a_configuration("http://api.example"))
    assert requests[0].headers["Host"] == "api.example"


async def test_so_do_those_to_a_server_with_tls(asked: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    server, requests = asked
    monkeypatch.setenv("HTTPS_PROXY", str(server.make_url("")))
    with pytest.raises(aiohttp.ClientError):  # a proxy that opens no tunnel
        await ask(a_configuration("https://api.example:6443"))
    assert (requests[0].method, requests[0].headers["Host"]) == ("CONNECT", "api.example:6443")


async def ask(configuration: Configuration) -> None:
    limits = aiohttp.ClientTimeout(total=60)
    async with open_connection(configuration) as connection, connection.request("GET", "/", limits=limits) as answer:
        assert answer.status == 200
