"""A draining pod closes connections, because a Service that selects other pods does not."""

import http.client
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.runtime_server import RuntimeServer, until


@pytest.fixture
def drain_file(tmp_path: Path) -> Path:
    file = tmp_path / "draining"
    file.write_text("")
    return file


@pytest.fixture
def server(drain_file: Path) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", drain_file=drain_file) as server:
        yield server.ready()


@contextmanager
def connected(server: RuntimeServer) -> Iterator[http.client.HTTPConnection]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port)
    try:
        yield connection
    finally:
        connection.close()


def closes_with_its_answer(connection: http.client.HTTPConnection) -> bool:
    connection.request("GET", "/v1/models")
    answer = connection.getresponse()
    answer.read()
    assert answer.status == 200
    return answer.getheader("connection") == "close"


def is_draining(server: RuntimeServer) -> bool:
    with connected(server) as connection:
        return closes_with_its_answer(connection)


def test_every_connection_is_closed_with_its_next_response(server: RuntimeServer, drain_file: Path) -> None:
    assert not is_draining(server)
    drain_file.write_text("2026-03-01T12:00:00Z")
    until(lambda: is_draining(server), "the notice is seen")


def test_an_idle_connection_is_closed(server: RuntimeServer, drain_file: Path) -> None:
    with connected(server) as connection:
        assert not closes_with_its_answer(connection)
        assert connection.sock is not None
        drain_file.write_text("2026-03-01T12:00:00Z")
        connection.sock.settimeout(120)
        assert connection.sock.recv(1) == b""


def test_draining_can_be_cancelled(server: RuntimeServer, drain_file: Path) -> None:
    drain_file.write_text("2026-03-01T12:00:00Z")
    until(lambda: is_draining(server), "the notice is seen")
    drain_file.write_text("")
    until(lambda: not is_draining(server), "it is taken back")
