"""GET /progress, as the operator asks a pod that downloads."""

import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from embedding_runtime.contract import PROGRESS_PORT_VARIABLE, DownloadProgress
from embedding_runtime.storage.progress import Meter
from embedding_runtime.storage.progress_server import ProgressServer, progress_server
from support.fake_hub import FakeHub
from support.initializer import a_model, hub_environment, start_initializer
from support.ports import a_free_port


@pytest.fixture
def server() -> Iterator[ProgressServer]:
    with closing(ProgressServer(0)) as server:
        yield server


def get(port: int, path: str = "/progress", host: str = "127.0.0.1") -> bytes:
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=60) as response:
        body: bytes = response.read()
    return body


def test_it_answers_with_the_bytes_of_the_meter(server: ProgressServer) -> None:
    meter = Meter(100, 40)
    server.show(meter)
    meter.add(10)
    found = DownloadProgress.from_body(get(server.port))
    assert found is not None
    assert (found.done_bytes, found.total_bytes) == (50, 100)


@pytest.mark.parametrize("path", ["/", "/progress2", "/progress/x"])
def test_anything_else_is_not_found(server: ProgressServer, path: str) -> None:
    server.show(Meter(100))
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        get(server.port, path)
    caught.value.close()


def test_before_the_download_there_is_no_progress(server: ProgressServer) -> None:
    with pytest.raises(urllib.error.HTTPError, match="404") as caught:
        get(server.port)
    caught.value.close()


def test_clients_that_send_nothing_or_garbage_do_not_keep_others_from_an_answer(server: ProgressServer) -> None:
    server.show(Meter(100))
    with (
        socket.create_connection(("127.0.0.1", server.port)),
        socket.create_connection(("127.0.0.1", server.port)) as b,
    ):
        b.sendall(b"\x00" * 100_000)
        assert DownloadProgress.from_body(get(server.port)) is not None


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_it_listens_on_both_families(server: ProgressServer) -> None:
    server.show(Meter(100))
    assert get(server.port, host="[::1]") == get(server.port)


@pytest.mark.parametrize("port", ["0x", "-1", "70000", "taken"])
def test_a_port_that_cannot_be_used_is_a_line_and_no_failure(server: ProgressServer, port: str) -> None:
    said: list[str] = []
    port = str(server.port) if port == "taken" else port
    with progress_server({PROGRESS_PORT_VARIABLE: port}, said.append) as show:
        show(Meter(1))
    assert said[0].startswith(f"the progress is not reported on PROGRESS_PORT={port}: ")


def test_without_the_variable_nothing_listens() -> None:
    with progress_server({}, print) as show:
        show(Meter(1))


def test_the_initializer_reports_while_it_downloads(tmp_path: Path) -> None:
    model = a_model(tmp_path / "served", {"config.json": b"0123456789" * 3_300_000})
    port = a_free_port()
    with FakeHub({"owner/name": model}) as hub:
        hub.faults.stall = 1
        environ = hub_environment(hub) | {PROGRESS_PORT_VARIABLE: str(port)}
        with start_initializer("hf://owner/name", tmp_path / "models", environ=environ) as process:
            assert hub.stalling.wait(120)
            found = DownloadProgress.from_body(get(port))
            process.kill()
    assert found is not None
    assert found.total_bytes == 33_000_000
