"""The access log of a real server: one line per request, and no texts."""

import json
import os
import signal
import socket
from typing import Any

import pytest

from support.runtime_server import NAME, RuntimeServer, until

TEXT = "a-text-nobody-may-see"
ROUTE = "/openai/v1/embeddings"


def lines_of(server: RuntimeServer, logger: str) -> list[dict[str, Any]]:
    return [entry for entry in map(json.loads, server.log.splitlines()) if entry["logger"] == logger]


def test_the_json_log_has_a_line_per_request_with_id_and_counts() -> None:
    with RuntimeServer("fake", log_format="json", access_log=True) as server:
        with server.ready().http() as http:
            body = {"model": NAME, "input": ["hello", "hello"]}
            answer = http.post(ROUTE, json=body, headers={"X-Request-Id": "mine"})
            http.get("/healthz")
            other = http.post(ROUTE, json={"model": NAME})
        # The line of a request follows its response.
        until(lambda: len(lines_of(server, "embedding_runtime.access")) == 2, "the log has both requests")
        served, refused = lines_of(server, "embedding_runtime.access")
    assert (answer.headers["X-Request-Id"], len(other.headers["X-Request-Id"])) == ("mine", 32)
    assert refused["request_id"] == other.headers["X-Request-Id"]
    assert (refused["message"], refused["status"], refused["fault"]) == (f"POST {ROUTE}", 400, "bad_request")
    assert served.pop("ms") > 0
    del served["ts"], served["logger"]
    assert served == {
        "level": "info",
        "message": f"POST {ROUTE}",
        "status": 200,
        "texts": 2,
        "tokens": 6,
        "request_id": "mine",
    }


def test_requests_are_not_logged_by_default() -> None:
    with RuntimeServer("fake") as server:
        server.ready().embeddings(input="hello")
        assert "POST" not in server.log


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_text_is_logged_whatever_happens_to_its_request(log_format: str) -> None:
    bodies: list[dict[str, Any]] = [
        {"input": TEXT},
        {"input": [TEXT, 3]},
        {"input": {"text": TEXT}},
        {"input": f"{TEXT} " * 300},
        {"input": f"{TEXT} \ud800"},
        {"input": TEXT, "model": TEXT},
        {"input": TEXT, "dimensions": TEXT},
        {"input": TEXT, "encoding_format": TEXT},
        {TEXT: TEXT},
    ]
    with RuntimeServer("fake", log_format=log_format, access_log=True) as server:
        with server.ready().http() as http:
            for body in bodies:
                http.post(
                    ROUTE, content=json.dumps({"model": NAME, **body}), headers={"Content-Type": "application/json"}
                )
            for content in (f'{{"input": "{TEXT}', TEXT, f'"{TEXT}"'):
                assert http.post(ROUTE, content=content).status_code == 400
            assert http.post(f"/{TEXT}", params={"input": TEXT}).status_code == 404
        os.kill(server.worker, signal.SIGSTOP)
        begun = server.begin_request(json.dumps({"model": NAME, "input": TEXT}).encode())
        os.kill(server.worker, signal.SIGKILL)
        with begun:
            assert b"503" in begun.recv(1 << 16)
        server.process.wait(120)
        assert "killed" in server.log
        assert server.log.count(ROUTE) > len(bodies)
        assert TEXT not in server.log


def test_a_request_that_is_not_http_is_not_quoted() -> None:
    with RuntimeServer("fake") as server:
        connection = socket.create_connection(("127.0.0.1", server.ready().port), timeout=30)
        with connection:
            connection.sendall(TEXT.encode() + b"\r\n\r\n")
            assert b"400" in connection.recv(1 << 16)
        assert server.get("/healthz").status_code == 200
        assert TEXT not in server.log
