"""Interactive and bulk requests on a real server."""

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from support.runtime_server import NAME, RuntimeServer, until


@pytest.fixture
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()


def ask(server: RuntimeServer, given: object, lane: str | None = None, **body: object) -> httpx.Response:
    headers = {} if lane is None else {"X-Priority": lane}
    with server.http() as http:
        return http.post("/v1/embeddings", json={"model": NAME, "input": given, **body}, headers=headers)


def queued(server: RuntimeServer, lane: str) -> float:
    return server.metric("embedding_request_queue_duration_seconds_count", lane=lane) or 0


def test_a_query_is_answered_before_an_earlier_bulk_request(server: RuntimeServer) -> None:
    done: list[str] = []

    def asked(name: str, given: object) -> None:
        assert ask(server, given).status_code == 200
        done.append(name)

    os.kill(server.worker, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        bulk = pool.submit(asked, "bulk", ["one " * 200] * 1000)
        until(lambda: server.tokens_in_flight == 202_000, "the bulk request to be queued")
        query = pool.submit(asked, "query", "hello")
        until(lambda: server.metric("embedding_queue_tokens", lane="interactive") == 3, "the query to be queued")
        assert server.metric("embedding_queue_texts", lane="interactive") == 1
        os.kill(server.worker, signal.SIGCONT)
        query.result()
        bulk.result()
    assert done == ["query", "bulk"]


@pytest.mark.parametrize(
    ("texts", "header", "priority", "lane"),
    [
        (1, None, None, "interactive"),
        (8, None, None, "interactive"),
        (9, None, None, "bulk"),
        (1, "bulk", None, "bulk"),
        (9, "Interactive", None, "interactive"),
        (1, None, 1, "bulk"),
        (9, None, -1, "interactive"),
        (9, None, 0, "bulk"),
        (1, "interactive", 5, "interactive"),
    ],
)
def test_the_lane_comes_from_the_header_or_the_body_or_the_number_of_texts(
    fake_server: RuntimeServer, *, texts: int, header: str | None, priority: int | None, lane: str
) -> None:
    before = queued(fake_server, lane)
    answer = ask(fake_server, ["a"] * texts, header, **({} if priority is None else {"priority": priority}))
    assert answer.status_code == 200
    assert queued(fake_server, lane) == before + 1


@pytest.mark.parametrize("header", ["urgent", "", "1"])
def test_an_unknown_lane_is_rejected_with_the_valid_ones(fake_server: RuntimeServer, header: str) -> None:
    answer = ask(fake_server, "a", header)
    assert answer.status_code == 400
    assert answer.json()["error"]["message"] == "X-Priority must be interactive or bulk"


@pytest.mark.parametrize("priority", ["high", 1.5, True])
def test_a_priority_that_is_not_a_whole_number_is_rejected(fake_server: RuntimeServer, priority: object) -> None:
    answer = ask(fake_server, "a", priority=priority)
    assert answer.status_code == 400
    assert "priority" in answer.json()["error"]["message"]


def test_after_light_traffic_a_large_request_is_not_rejected_for_its_deadline(
    server: RuntimeServer,
) -> None:
    with server.http() as http:
        for _ in range(300):
            http.post("/v1/embeddings", json={"model": NAME, "input": "hello"})
    os.kill(server.worker, signal.SIGSTOP)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(ask, server, ["one " * 200] * 250)
        until(lambda: server.tokens_in_flight == 50_500, "51,000 tokens to wait")
        other = pool.submit(server.embeddings, input="hello", timeout="30")
        time.sleep(0.1)
        assert not other.done()
        os.kill(server.worker, signal.SIGCONT)
        assert (first.result().status_code, other.result().status_code) == (200, 200)


def test_rejections_are_counted_by_lane(server: RuntimeServer) -> None:
    ask(server, "a", "bulk", dimensions=5)
    assert server.metric("embedding_rejected_total", reason="bad_request", lane="bulk") == 1


SECONDS_PER_TOKEN = 0.0001
BATCH_SECONDS = 2048 * SECONDS_PER_TOKEN


def test_a_query_next_to_a_bulk_client_waits_for_the_running_batch_only() -> None:
    slow = {"FAKE_SECONDS_PER_TOKEN": str(SECONDS_PER_TOKEN)}
    with RuntimeServer("fake", harmed=True, env=slow) as server, ThreadPoolExecutor(5) as pool:
        server.ready()
        bulk = [pool.submit(ask, server, ["one " * 198] * 500) for _ in range(2)]  # 100,000 tokens each
        until(lambda: server.tokens_in_flight > 150_000, "the bulk requests to be queued")
        seconds: list[float] = []
        with server.http() as http:
            while server.tokens_in_flight > 20_000 and len(seconds) < 30:
                begin = time.monotonic()
                assert http.post("/v1/embeddings", json={"model": NAME, "input": "hello"}).status_code == 200
                seconds.append(time.monotonic() - begin)
                time.sleep(0.03 * (len(seconds) % 7))  # at any time of a batch
        assert len(seconds) > 15
        seconds.sort()
        assert seconds[len(seconds) * 9 // 10] < 2 * BATCH_SECONDS + 0.5, seconds[-3:]  # of a busy machine
        assert seconds[len(seconds) // 2] < 1.8 * BATCH_SECONDS + 0.1
        server.process.kill()
        for each in bulk:
            each.exception()
