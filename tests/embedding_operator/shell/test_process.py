"""The operator as a process: its exit status, its health, its log."""

import asyncio
import json
import logging
import signal
import socket

import aiohttp
import pytest

from embedding_operator.errors import NoCluster
from embedding_operator.settings import Settings
from embedding_operator.shell import connect, logs, run
from embedding_operator.shell.health import serve_health
from support.clock import eventually
from support.fake_kubernetes import fake_kubernetes


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_a_signal_ends_it_cleanly_with_the_lease_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_kubernetes() as kubernetes:

        async def load() -> object:
            return kubernetes.configuration

        monkeypatch.setattr(connect, "load", load)
        process = asyncio.create_task(run._until_stopped(Settings(lease_seconds=5, health_port=a_free_port())))
        await eventually(lambda: kubernetes.watches("pods"))
        signal.raise_signal(signal.SIGTERM)
        assert await process == 0
        lease = kubernetes.get("leases", "embedding-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""


async def test_what_ends_it_is_in_the_log_in_one_line_and_in_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def load() -> object:
        raise NoCluster("nothing is here")

    monkeypatch.setattr(connect, "load", load)
    assert await run._until_stopped(Settings()) == 1
    assert [(each.levelname, each.getMessage(), each.exc_info) for each in caplog.records] == [
        ("CRITICAL", "ending: nothing is here", None)
    ]


async def test_health_is_answered_as_long_as_it_serves() -> None:
    port = a_free_port()
    async with aiohttp.ClientSession() as session:
        async with serve_health(port), session.get(f"http://127.0.0.1:{port}/healthz") as answer:
            assert (answer.status, await answer.text()) == (200, "ok\n")
        with pytest.raises(aiohttp.ClientConnectionError):
            await session.get(f"http://127.0.0.1:{port}/healthz")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_message_is_one_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    root, kopf = logging.getLogger(), logging.getLogger("kopf")
    before = root.handlers[:], root.level, kopf.level
    try:
        logs.set_up(Settings.model_validate({"log_format": log_format}))
        logging.getLogger("a").info("said %s", "this")
        line = capsys.readouterr().err
    finally:
        root.handlers[:], root.level, kopf.level = before
    assert line.count("\n") == 1
    if log_format == "json":
        assert {"level": "INFO", "logger": "a", "message": "said this"}.items() <= json.loads(line).items()
    else:
        assert line.endswith("INFO    a: said this\n")
