"""Overload: rejected and cancelled requests, whose texts are dequeued."""

import json
import os
import signal

import pytest

from support.runtime_server import NAME, RuntimeServer, all_of, until

BODY = json.dumps({"model": NAME, "input": "hello"}).encode()
"""Three tokens."""


def waiting(server: RuntimeServer, tokens: int) -> None:
    until(lambda: server.tokens_in_flight == tokens, f"{tokens} tokens to wait")


def test_a_full_queue_is_429_with_retry_after() -> None:
    with RuntimeServer("fake", max_waiting_tokens=11) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(3)]
        waiting(server, 9)
        answer = server.embeddings(input="hello")
        error = answer.json()["error"]
        assert (answer.status_code, error["type"], error["code"]) == (429, "rate_limit_error", "overloaded")
        assert error["message"] == "Server overloaded: 9 tokens are queued ahead of this request's 3: retry in 1 s"
        assert answer.headers["Retry-After"] == "1"
        assert server.get("/readyz").status_code == 200  # it is as well as before
        os.kill(server.worker, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in connections] == [True] * 3


def test_a_request_that_cannot_meet_its_deadline_is_rejected_immediately() -> None:
    with RuntimeServer("fake") as server:
        server.ready().embeddings(input=["one " * 200] * 100)
        os.kill(server.worker, signal.SIGSTOP)
        large = server.begin_request(json.dumps({"model": NAME, "input": ["one " * 200] * 1000}).encode())
        until(lambda: server.embeddings(input="hello", timeout="0.001").status_code == 429, "202,000 tokens in line")
        os.kill(server.worker, signal.SIGCONT)
        assert b"200 OK" in all_of(large)
        assert server.embeddings(input="hello", timeout="5").status_code == 200


def test_a_text_longer_than_the_whole_queue_is_accepted_when_it_is_empty() -> None:
    with RuntimeServer("fake", max_waiting_tokens=11) as server:
        assert server.ready().embeddings(input="one " * 200).status_code == 200


def test_a_passed_deadline_is_504_and_dequeues_the_texts() -> None:
    with RuntimeServer("fake", max_waiting_tokens=11) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        blockers = [server.begin_request(BODY) for _ in range(2)]
        waiting(server, 6)
        for _ in range(3):  # there is room for one at a time
            answer = server.embeddings(input="hello", timeout="0.2")
            assert (answer.status_code, answer.json()["error"]["code"]) == (504, "deadline_passed")
            assert "0.2 s" in answer.json()["error"]["message"]
        os.kill(server.worker, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in blockers] == [True] * 2


def test_without_a_header_the_timeout_is_the_flags_default() -> None:
    with RuntimeServer("fake", request_timeout=0.2) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        assert server.embeddings(input="hello").status_code == 504
        os.kill(server.worker, signal.SIGCONT)
        assert server.embeddings(input="hello", timeout="10").status_code == 200


def test_texts_of_a_disconnected_client_leave_the_queue() -> None:
    with RuntimeServer("fake", max_waiting_tokens=11) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        stay = [server.begin_request(BODY) for _ in range(2)]
        waiting(server, 6)  # the first is with the worker: what comes now stands in line
        leaves = server.begin_request(BODY)
        waiting(server, 9)
        leaves.close()
        waiting(server, 6)
        os.kill(server.worker, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in stay] == [True] * 2


@pytest.mark.parametrize("timeout", ["soon", "0", "-1", "nan", "inf", "601", ""])
def test_a_timeout_header_that_is_not_a_number_is_rejected(fake_server: RuntimeServer, timeout: str) -> None:
    answer = fake_server.embeddings(input="hello", timeout=timeout)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == (
        "X-Request-Timeout must be a number of seconds above 0 and at most 600"
    )
