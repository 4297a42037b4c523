"""The operator as a process: its exit status, its health, its metrics, its log."""

import asyncio
import json
import logging
import signal
from collections import Counter

import aiohttp
import pytest

from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import NoCluster
from embedding_operator.settings import Settings
from embedding_operator.shell import connect, logs, run
from embedding_operator.shell.health import serve_health
from embedding_operator.shell.metrics import Metrics
from support.clock import eventually
from support.fake_api import fake_api
from support.ports import a_free_port


async def test_a_signal_ends_it_cleanly_with_the_lease_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async with fake_api() as api:

        async def load() -> object:
            return api.configuration

        monkeypatch.setattr(connect, "load", load)
        process = asyncio.create_task(run._until_stopped(Settings(lease_seconds=5, health_port=a_free_port())))
        await eventually(lambda: api.watches("pods") and api.watches("storagecontainers"))
        signal.raise_signal(signal.SIGTERM)
        assert await process == 0
        lease = api.get("leases", "embedding-operator")
        assert lease is not None
        assert not lease["spec"].get("holderIdentity")


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


async def test_health_readiness_and_metrics_are_answered_as_long_as_it_serves() -> None:
    port = a_free_port()
    async with aiohttp.ClientSession() as session:

        async def get(path: str) -> tuple[int, str]:
            async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                return answer.status, await answer.text()

        async with serve_health(port, Metrics(), healthy=lambda: None, ready=lambda: "no Lease yet"):
            assert await get("/healthz") == (200, "ok\n")
            assert await get("/readyz") == (503, "no Lease yet\n")
            status, text = await get("/metrics")
            assert status == 200
            assert "embedding_operator_leader 0.0" in text
        with pytest.raises(aiohttp.ClientConnectionError):
            await get("/healthz")


class AState:
    """A leader's gauges."""

    def is_leading(self) -> bool:
        return True

    def queue(self) -> tuple[int, float]:
        return 3, 1.5

    def services(self) -> Counter[tuple[str, str]]:
        return Counter({("True", "Ready"): 2})

    def rollouts(self) -> int:
        return 1

    def conflicting(self) -> int:
        return 4

    def watch_restarts(self) -> Counter[str]:
        return Counter({"pods": 5})


def test_what_a_leader_does_is_in_the_metrics() -> None:
    metrics = Metrics()
    metrics.state = AState()
    metrics.reconciled("success", 0.1)
    metrics.called("get", "secrets", "200")
    lines = metrics.text().decode().splitlines()
    for line in (
        'reconciles_total{result="success"} 1.0',
        "reconcile_seconds_count 1.0",
        'api_requests_total{code="200",kind="secrets",verb="get"} 1.0',
        "leader 1.0",
        "queue_depth 3.0",
        "queue_oldest_seconds 1.5",
        'services{ready="True",reason="Ready"} 2.0',
        "rollouts_in_progress 1.0",
        "conflicting_services 4.0",
        'watch_restarts{kind="pods"} 5.0',
    ):
        assert f"embedding_operator_{line}" in lines


def logged(log_format: str, capsys: pytest.CaptureFixture[str], name: str, level: int, message: str) -> str:
    """The line that a message makes."""
    root, kopf = logging.getLogger(), logging.getLogger("kopf")
    before = root.handlers[:], root.level, kopf.level
    try:
        logs.set_up(Settings.model_validate({"log_format": log_format}))
        logging.getLogger(name).log(level, message)
        return capsys.readouterr().err
    finally:
        root.handlers[:], root.level, kopf.level = before


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_message_is_one_line(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = logged(log_format, capsys, "a", logging.INFO, "said this")
    assert line.count("\n") == 1
    if log_format == "json":
        assert {"level": "INFO", "logger": "a", "message": "said this"}.items() <= json.loads(line).items()
    else:
        assert line.endswith("INFO    a: said this\n")


def test_a_message_of_a_reconcile_has_its_key_in_fields_of_their_own(capsys: pytest.CaptureFixture[str]) -> None:
    with logs.reconciling(ObjectRef("v1", "EmbeddingService", "n", "s")):
        inside = json.loads(logged("json", capsys, "a", logging.INFO, "within"))
    outside = json.loads(logged("json", capsys, "a", logging.INFO, "after"))
    assert (inside["kind"], inside["namespace"], inside["name"], inside["key"]) == ("EmbeddingService", "n", "s", "n/s")
    assert "key" not in outside


@pytest.mark.parametrize(
    ("message", "level"),
    [
        (
            "Request attempt #1 failed; will retry: GET /x -> APITooManyRequestsError('storage is (re)initializing')",
            "INFO",
        ),
        ("Request attempt #1 failed; will retry: GET /x -> ClientConnectorError()", "INFO"),
        ("Request attempt #9 failed; escalating: GET /x -> APIForbiddenError()", "ERROR"),
    ],
)
def test_what_kopf_retries_is_no_error(message: str, level: str, capsys: pytest.CaptureFixture[str]) -> None:
    line = json.loads(logged("json", capsys, "kopf._cogs.clients.api", logging.ERROR, message))
    assert line["level"] == level
