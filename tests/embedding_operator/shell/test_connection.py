"""The way to the API server: through a proxy only where somebody says so."""

import pytest
from kubernetes.aio.client import Configuration

from embedding_operator.shell.connection import proxy_of


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
