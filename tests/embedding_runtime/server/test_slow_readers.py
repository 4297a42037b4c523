"""Slow readers of a large response: above the minimum rate they get all of it, below it they are disconnected."""

import json
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from support.runtime_server import NAME, RuntimeServer, until

MIB = 1 << 20
WRITE_TIMEOUT = 0.5
MIN_RATE = (64 << 10) / WRITE_TIMEOUT
"""Minimum bytes per second that a client must read."""

BODY = json.dumps({"model": NAME, "input": ["a"] * 1000}).encode()
"""Its response has 4 MB."""


@pytest.fixture(scope="module")
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", write_timeout=WRITE_TIMEOUT) as server:
        yield server.ready()


def answer_read_at(
    server: RuntimeServer, rate: float, *, window: int = 1 << 16, piece: int = 1 << 13
) -> tuple[bytes, float]:
    """Read until the server closes, at `rate` bytes per second and `piece` bytes at a time. Returns what was read, and
    the most seconds by which this process was late: on a busy machine it may read more slowly than it should.
    """
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
        connection.settimeout(30)
        connection.connect(("127.0.0.1", server.port))
        head = b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n"
        connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(BODY) + BODY)
        found = connection.recv(piece)
        begin, late = time.monotonic(), 0.0
        while True:
            due = begin + len(found) / rate
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                more = connection.recv(piece)
            except ConnectionResetError:
                return found, late
            if not more:
                return found, late
            late = max(late, time.monotonic() - due)
            found += more


@pytest.mark.parametrize("window", [1 << 16, 1 << 18])
@pytest.mark.parametrize("times", [2, 4, 8])
def test_a_client_above_the_minimum_rate_gets_its_whole_response(
    server: RuntimeServer, times: int, window: int
) -> None:
    for _ in range(5):
        answer, late = answer_read_at(server, times * MIN_RATE, window=window)
        if late < WRITE_TIMEOUT / 5:
            break
    assert len(json.loads(answer.partition(b"\r\n\r\n")[2])["data"]) == 1000


@pytest.mark.parametrize("part", [0.8, 0.3])
def test_a_client_below_the_minimum_rate_is_disconnected_and_its_memory_freed(
    server: RuntimeServer, part: float
) -> None:
    before = server.metric("embedding_connections_ended_total", reason="answer_not_read") or 0
    with ThreadPoolExecutor() as pool:
        reading = pool.submit(answer_read_at, server, part * MIN_RATE)
        until(lambda: (server.metric("embedding_unsent_bytes") or 0) > MIB, "an unread response")
        until(
            lambda: (server.metric("embedding_connections_ended_total", reason="answer_not_read") or 0) > before,
            "the client to be disconnected",
            seconds=20,
        )
        assert server.metric("embedding_unsent_bytes") == 0
        assert len(reading.result()[0]) < 4 * MIB
