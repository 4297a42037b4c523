"""Failures of the worker, as seen by clients, probes and the parent process."""

import json
import os
import signal
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from support.harmed.sitecustomize import FATAL, NOT_A_NUMBER, POISON
from support.runtime_server import NAME, RuntimeServer, all_of, until

HEALTHY = [101, 7592, 102]


def body_of(*texts: list[int]) -> bytes:
    return json.dumps({"model": NAME, "input": texts}).encode()


@pytest.mark.parametrize(("token", "code"), [(POISON, "text_failed"), (NOT_A_NUMBER, "vector_not_finite")])
def test_a_text_that_cannot_be_computed_fails_alone(token: int, code: str) -> None:
    with RuntimeServer("fake", harmed=True) as server:
        expected = server.ready().embeddings(input=[HEALTHY]).json()["data"][0]["embedding"]
        os.kill(server.worker, signal.SIGSTOP)  # so that all of these stand in line together
        blocker = server.begin_request(body_of(HEALTHY))
        before = [server.begin_request(body_of(HEALTHY)) for _ in range(3)]
        poisoned = server.begin_request(body_of(HEALTHY, [101, token, 102], HEALTHY))
        after = [server.begin_request(body_of(HEALTHY, HEALTHY)) for _ in range(3)]
        os.kill(server.worker, signal.SIGCONT)
        status, answer = parsed(all_of(poisoned))
        assert (status, answer["error"]["code"], answer["error"]["param"]) == (500, code, "input")
        assert "input[1]" in answer["error"]["message"]
        assert server.metric("embedding_rejected_total", reason=code, lane="interactive") == 1
        for connection in (blocker, *before, *after):
            status, answer = parsed(all_of(connection))
            assert status == 200
            assert [item["embedding"] for item in answer["data"]] == [expected] * len(answer["data"])
        assert server.ready().stop() == 0


def test_a_text_that_cannot_be_computed_is_named_by_its_field() -> None:
    with RuntimeServer("fake", harmed=True) as server:
        answer = server.ready().post("/embed", inputs=[HEALTHY, [101, POISON, 102]])
    assert (answer.status_code, answer.json()["error_type"]) == (424, "Backend")
    assert answer.json()["error"] == "the backend failed for inputs[1]"


def parsed(answer: bytes) -> tuple[int, Any]:
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), json.loads(body)


def test_when_the_device_is_lost_requests_get_503_and_the_process_exits() -> None:
    with RuntimeServer("fake", harmed=True) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        connections = [server.begin_request(body_of([101, FATAL, 102])), server.begin_request(body_of(HEALTHY))]
        os.kill(server.worker, signal.SIGCONT)
        for connection in connections:
            status, answer = parsed(all_of(connection))
            assert (status, answer["error"]["code"]) == (503, "backend_failed")
            assert "CUDA error" in answer["error"]["message"]
        assert server.process.wait(120) == 1
        assert "CUDA error" in server.log.splitlines()[-1]


def test_a_stuck_worker_is_killed() -> None:
    with RuntimeServer("fake", stuck_after=3) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            waiting = [pool.submit(server.embeddings, input="hello") for _ in range(4)]
            ready = server.get("/readyz")
            assert ready.status_code == 200  # slow is not stuck
            until(lambda: "the worker is stuck" in server.log, "the watchdog")
            for answer in [each.result() for each in waiting]:
                assert (answer.status_code, answer.json()["error"]["code"]) == (503, "backend_failed")
                assert "the worker is stuck: a batch of 3 tokens" in answer.json()["error"]["message"]
        assert server.process.wait(120) == 1
