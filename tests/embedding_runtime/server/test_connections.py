"""Limits of connections: clients that send endless headers, stay silent, or do not read the response."""

import http.client
import json
import select
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runtime_server import NAME, RuntimeServer, all_of, until

MIB = 1 << 20

GET = b"GET /healthz HTTP/1.1\r\nHost: test\r\n"
MANY_TEXTS = json.dumps({"model": NAME, "input": ["a"] * 2048}).encode()
"""9 MB of numbers, as JSON."""


@pytest.fixture(scope="module")
def keys_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("keys") / "keys"
    file.write_text("somebody a-key-that-nobody-here-has\n")
    return file


@pytest.fixture(scope="module")
def locked(keys_file: Path) -> Iterator[RuntimeServer]:
    """A server for which nobody here has a key."""
    with RuntimeServer("fake", api_keys_file=keys_file) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def impatient() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", read_timeout=0.3, write_timeout=0.2) as server:
        yield server.ready()


def resident(server: RuntimeServer) -> int:
    """Bytes of memory that the front has."""
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def connected(server: RuntimeServer, *, window: int | None = None) -> socket.socket:
    """`window`: bytes that its kernel takes of what it does not read."""
    connection = socket.socket()
    if window is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.port))
    return connection


def answer_to(server: RuntimeServer, head: bytes, piece: bytes = b"", pieces: int = 0) -> bytes:
    """What comes back until the server closes; sending stops when something does."""
    connection = connected(server)
    connection.sendall(head)
    for _ in range(pieces):
        if select.select([connection], [], [], 0)[0]:
            break
        connection.sendall(piece)
    return all_of(connection)


def next_answer(connection: socket.socket) -> tuple[int, bytes]:
    """Status and body of one answer on a connection that stays."""
    with http.client.HTTPResponse(connection) as answer:
        answer.begin()
        return answer.status, answer.read()


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("head", "piece", "status"),
    [
        pytest.param(GET, b"a:b\r\n" * 20_000, 431, id="fields"),
        pytest.param(GET + b"a:", b"b" * 100_000, 431, id="one value"),
        pytest.param(GET, b"a" * 100_000, 431, id="one name"),
        pytest.param(b"", b"\r\n" * 50_000, 431, id="empty lines"),
        pytest.param(b"GET /", b"a" * 100_000, 414, id="a URL"),
    ],
)
def test_endless_headers_are_rejected_before_they_take_memory(
    locked: RuntimeServer, head: bytes, piece: bytes, status: int
) -> None:
    before = resident(locked)
    answer = answer_to(locked, head, piece, 600)
    assert status_of(answer) == status
    assert b"connection: close" in answer
    assert resident(locked) - before < 20 * MIB


def test_rejected_headers_are_freed_while_their_clients_stay_connected(locked: RuntimeServer) -> None:
    before = resident(locked)
    connections = [connected(locked) for _ in range(50)]
    for connection in connections:
        connection.sendall(GET + b"a:b\r\n" * 40_000)
    assert [connection.recv(12) for connection in connections] == [b"HTTP/1.1 431"] * 50
    assert resident(locked) - before < 30 * MIB
    for connection in connections:
        connection.close()


def test_a_client_that_sends_60_megabytes_receives_the_error(locked: RuntimeServer) -> None:
    before = resident(locked)
    connection = connected(locked)
    connection.sendall(GET + b"a:b\r\n" * 12_000_000)
    assert status_of(all_of(connection)) == 431
    assert resident(locked) - before < 20 * MIB


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (GET + b"a: b\r\n" * 99 + b"\r\n", 200),  # Host is one, too
        (GET + b"a: b\r\n" * 100 + b"\r\n", 431),
        (GET + b"a: " + b"b" * 65_000 + b"\r\n\r\n", 200),
        (GET + b"a: " + b"b" * 65_600 + b"\r\n\r\n", 431),
        (b"GET /healthz?" + b"a" * (8192 - 9) + b" HTTP/1.1\r\nHost: test\r\n\r\n", 200),
        (b"GET /healthz?" + b"a" * (8193 - 9) + b" HTTP/1.1\r\nHost: test\r\n\r\n", 414),
    ],
    ids=lambda value: "" if isinstance(value, bytes) else str(value),
)
def test_the_limits_of_a_head_are_exact(locked: RuntimeServer, head: bytes, status: int) -> None:
    connection = connected(locked)
    connection.sendall(head)
    assert next_answer(connection)[0] == status
    connection.close()


def test_the_error_names_the_flag(locked: RuntimeServer) -> None:
    answer = answer_to(locked, GET + b"a: b\r\n" * 101 + b"\r\n")
    error = json.loads(answer.partition(b"\r\n\r\n")[2])["error"]
    assert error["code"] == "headers_too_large"
    assert error["message"] == "the headers exceed the maximum of 100 fields (--max_header_fields): send fewer headers"


def test_a_large_body_in_one_read_does_not_count_as_headers(fake_server: RuntimeServer) -> None:
    body = json.dumps({"model": NAME, "input": ["a"] * 1000, "user": "u" * 150_000}).encode()
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connection = connected(fake_server)
    for _ in range(3):
        connection.sendall(head % len(body) + body)
        assert next_answer(connection)[0] == 200
    connection.close()


def test_endless_trailers_close_the_connection(fake_server: RuntimeServer) -> None:
    before = resident(fake_server)
    connection = connected(fake_server)
    connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n")
    with pytest.raises(ConnectionError):
        connection.sendall(b"a:b\r\n" * 12_000_000)
    connection.close()
    assert resident(fake_server) - before < 20 * MIB


@pytest.mark.parametrize("trailer", [b"X-Priority: nonsense", b"X-Request-Timeout: nonsense"])
def test_trailers_do_not_count_as_headers(fake_server: RuntimeServer, trailer: bytes) -> None:
    body = b'{"input": "a"}'
    answer = answer_to(
        fake_server,
        b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n"
        b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n%b\r\n\r\n" % (len(body), body, trailer),
    )
    assert status_of(answer) == 200


def test_too_many_pipelined_requests_close_the_connection(locked: RuntimeServer) -> None:
    before = resident(locked)
    connection = connected(locked, window=4096)
    with pytest.raises(ConnectionError):
        connection.sendall(b"GET / HTTP/1.1\r\n\r\n" * 3_000_000)
    connection.close()
    assert resident(locked) - before < 20 * MIB


def test_unread_responses_do_not_fill_the_memory(impatient: RuntimeServer) -> None:
    impatient.embeddings(input=["a"] * 2048)
    before, most = resident(impatient), 0
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    connections = [connected(impatient, window=4096) for _ in range(60)]
    ended = impatient.metric("embedding_connections_ended_total", reason="answer_not_read") or 0
    for connection in connections:
        connection.sendall(head % len(MANY_TEXTS) + MANY_TEXTS)

    def all_ended() -> bool:
        nonlocal most
        most = max(most, resident(impatient))
        now = impatient.metric("embedding_connections_ended_total", reason="answer_not_read") or 0
        return now - ended == len(connections)

    until(all_ended, "all of the connections to be ended", seconds=120)
    print(f"60 answers that nobody reads: {before / MIB:.0f} MiB before, {most / MIB:.0f} at most")
    assert most - before < 100 * MIB
    assert impatient.metric("embedding_unsent_bytes") == 0
    assert impatient.embeddings(input=["a"] * 2048).status_code == 200
    for connection in connections:
        connection.close()


def test_unread_large_responses_do_not_block_small_ones() -> None:
    with RuntimeServer("fake", max_unsent_bytes=1) as server:
        server.ready()

        def unread() -> float:
            return server.metric("embedding_unsent_bytes") or 0

        connections = [server.begin_request(MANY_TEXTS)]
        until(lambda: unread() > 8 * MIB, "an answer that is not read")
        connections.append(server.begin_request(MANY_TEXTS))
        until(lambda: unread() > 16 * MIB, "the second one: two are always made")
        connections.append(server.begin_request(MANY_TEXTS))  # waits
        assert server.embeddings(input="a").status_code == 200
        assert server.embeddings(input=["a"] * 2048, timeout="0.3").status_code == 504
        for connection in connections:
            assert status_of(all_of(connection)) == 200
        assert server.metric("embedding_unsent_bytes") == 0


def test_a_client_that_reads_slowly_gets_all_of_its_answer(fake_server: RuntimeServer) -> None:
    connection = connected(fake_server, window=1 << 16)
    head = b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nConnection: close\r\n"
    connection.sendall(head + b"Content-Length: %d\r\n\r\n" % len(MANY_TEXTS) + MANY_TEXTS)
    answer = b"".join(iter(lambda: connection.recv(4096), b""))
    connection.close()
    assert json.loads(answer.partition(b"\r\n\r\n")[2])["data"][-1]["index"] == 2047


def test_an_idle_connection_is_closed(impatient: RuntimeServer) -> None:
    assert answer_to(impatient, b"") == b""


@pytest.mark.parametrize("head", [b"G", GET, GET + b"a: b\r\n"])
def test_partial_headers_are_408(impatient: RuntimeServer, head: bytes) -> None:
    answer = answer_to(impatient, head)
    assert status_of(answer) == 408
    assert b"0.3 s (--read_timeout)" in answer


def test_a_partial_body_is_408_whatever_the_timeout() -> None:
    with RuntimeServer("fake", read_timeout=0.3) as server:
        connection = connected(server.ready())
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n{")
        status, answer = next_answer(connection)
        assert status == 408
        assert b"the body was incomplete after 0.3" in answer
        connection.close()


def test_a_rejected_partial_body_closes_the_connection(keys_file: Path) -> None:
    with RuntimeServer("fake", read_timeout=0.3, api_keys_file=keys_file) as server:
        connection = connected(server.ready())
        connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Length: 100\r\n\r\n")
        assert next_answer(connection)[0] == 401
        connection.sendall(b"{")
        assert all_of(connection) == b""


def test_a_request_longer_than_the_read_timeout_is_answered(impatient: RuntimeServer) -> None:
    connection = connected(impatient)
    connection.sendall(GET + b"\r\n")
    assert next_answer(connection)[0] == 200
    until(lambda: impatient.embeddings(input=["a"] * 2048).status_code == 200, "another one's answer")
    connection.sendall(GET + b"\r\n")  # between requests a connection has the time of keep-alive
    assert next_answer(connection)[0] == 200
    connection.close()


def test_idle_connections_do_not_block_new_ones() -> None:
    with RuntimeServer("fake", under=["prlimit", "--nofile=200:200"]) as server:
        server.ready()
        idle = [connected(server) for _ in range(260)]
        assert server.get("/healthz").status_code == 200
        assert (server.metric("embedding_connections") or 0) <= 136
        assert (server.metric("embedding_connections_ended_total", reason="too_many_connections") or 0) > 100
        assert (
            "connections are limited to 136, not --max_connections=4096, because the process may open 200 files"
            in server.log
        )
        assert "the server has reached its limit of 136 connections (--max_connections)" in server.log
        for connection in idle:
            connection.close()


def test_an_excess_connection_gets_503_if_all_have_requests() -> None:
    with RuntimeServer("fake", max_connections=2) as server:
        server.ready()
        busy = [connected(server) for _ in range(2)]
        for connection in busy:
            connection.sendall(b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\n")
            connection.sendall(b"Content-Length: 10\r\n\r\n")
            assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue")
        answer = answer_to(server, b"")
        assert status_of(answer) == 503
        assert b"the server has reached its limit of 2 connections (--max_connections): retry later" in answer
        for connection in busy:
            connection.close()


@pytest.mark.parametrize("pieces", [1, 2], ids=["at once", "the body later"])
def test_an_upgrade_offer_is_ignored_and_the_body_is_read(fake_server: RuntimeServer, pieces: int) -> None:
    body = json.dumps({"model": NAME, "input": "hello"}).encode()
    head = (  # Java's HttpClient
        b"POST /v1/embeddings HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\nContent-Length: %d\r\nHost: test\r\n"
        b"HTTP2-Settings: AAEAAEAAAAIAAAAAAAMAAAAAAAQBAAAAAAUAAEAABgAGAAA\r\nUpgrade: h2c\r\n"
        b"User-Agent: Java-http-client/21.0.2\r\nContent-Type: application/json\r\n\r\n" % len(body)
    )
    connection = connected(fake_server)
    for _ in range(2):  # it offers this with every request
        if pieces == 1:
            connection.sendall(head + body)
        else:
            connection.sendall(head + body[:5])
            connection.sendall(body[5:])
        status, answer = next_answer(connection)
        assert status == 200
        assert b'"prompt_tokens":3' in answer
    connection.sendall(GET + b"Connection: close\r\n\r\n")
    assert status_of(all_of(connection)) == 200


def test_invalid_http_is_400(locked: RuntimeServer) -> None:
    assert status_of(answer_to(locked, b"\x16\x03\x01\x02\x00\r\n\r\n")) == 400
    assert status_of(answer_to(locked, b"CONNECT example:443 HTTP/1.1\r\nHost: example\r\n\r\n")) == 405
