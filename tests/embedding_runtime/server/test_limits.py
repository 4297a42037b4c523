"""Limits of one request, enforced before resources are used."""

import json
import select
import socket
from collections.abc import Iterator

import openai
import pytest

from support.runtime_server import NAME, RuntimeServer, all_of

LIMIT = 10_000


@pytest.fixture(scope="module")
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", max_body_bytes=LIMIT, max_inputs=3, max_request_tokens=300) as server:
        yield server.ready()


def begun(server: RuntimeServer, *headers: bytes) -> socket.socket:
    """A connection with a request's headers, and nothing yet of its body."""
    connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
    head = [b"POST /v1/embeddings HTTP/1.1", b"Host: test", b"Content-Type: application/json", *headers]
    connection.sendall(b"\r\n".join([*head, b"", b""]))
    return connection


def answer_on(connection: socket.socket) -> bytes:
    """The whole of it; ends the connection, which the server keeps for a while for what may still come."""
    first = connection.recv(1 << 16)
    connection.shutdown(socket.SHUT_WR)
    return first + all_of(connection)


def test_a_body_whose_content_length_is_too_large_is_rejected_before_it_is_sent(server: RuntimeServer) -> None:
    connection = begun(server, b"Content-Length: %d" % (LIMIT + 1))
    answer = answer_on(connection)
    assert b"413 " in answer
    assert b"the body is larger than 10000 bytes (--max_body_bytes): send fewer or shorter texts in a request" in answer
    assert b"connection: close" in answer


def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(server: RuntimeServer) -> None:
    connection = begun(server, b"Transfer-Encoding: chunked")
    for _ in range(LIMIT // 1000 + 1):
        connection.sendall(b"%x\r\n%s\r\n" % (1000, b" " * 1000))
    assert b"413 " in answer_on(connection)  # though its end is still to come


def test_a_client_that_sends_a_large_body_receives_the_response(server: RuntimeServer) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        server.client().embeddings.create(model=NAME, input="one " * 5_000_000)
    assert caught.value.status_code == 413


def test_a_body_that_does_not_arrive_is_408(server: RuntimeServer) -> None:
    connection = begun(server, b"Content-Length: 100", b"X-Request-Timeout: 0.2")
    connection.sendall(b"{")
    answer = answer_on(connection)
    assert b"408 " in answer
    assert b"0.2 s" in answer


def test_slow_bodies_do_not_fill_the_memory(server: RuntimeServer) -> None:
    connections = [begun(server, b"Content-Length: %d" % LIMIT) for _ in range(5)]
    for connection in connections:
        connection.sendall(b" " * (LIMIT - 1))  # four of them is what is held at once
    answered, _, _ = select.select(connections, [], [], 30)
    assert [b"429 " in connection.recv(1 << 16) for connection in answered] == [True]
    for connection in connections:
        connection.close()


def test_too_many_texts_are_refused_with_both_numbers(server: RuntimeServer) -> None:
    answer = server.embeddings(input=["a"] * 4)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "input has 4 texts; the maximum is 3 (--max_inputs): send several requests"
    )
    assert server.embeddings(input=["a"] * 3).status_code == 200


def test_too_many_tokens_are_refused_with_both_numbers(server: RuntimeServer) -> None:
    answer = server.embeddings(input=["one " * 148, "one " * 149])
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "input has 301 tokens; the maximum is 300 (--max_request_tokens): send several requests"
    )
    assert server.embeddings(input=["one " * 148, "one " * 148]).status_code == 200


def test_by_default_the_limits_are_openais(fake_server: RuntimeServer) -> None:
    assert fake_server.embeddings(input=["a"] * 2048).status_code == 200
    assert "the maximum is 2048" in fake_server.embeddings(input=["a"] * 2049).json()["error"]["message"]


def test_a_connection_is_kept_after_a_refusal_of_what_was_read(server: RuntimeServer) -> None:
    body = json.dumps({"model": NAME, "input": ["a"] * 4}).encode()
    connection = begun(server, b"Content-Length: %d" % len(body))
    connection.sendall(body)
    connection.sendall(b"GET /healthz HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
    answers = all_of(connection)
    assert answers.index(b"400 Bad Request") < answers.index(b"200 OK")
