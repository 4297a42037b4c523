"""Several frontends and workers as real processes: distribution of work, sums of metrics, crashes."""

import json
import os
import signal
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from embedding_runtime.contract import KILLED
from support.processes import is_running
from support.runtime_server import NAME, RuntimeServer, all_of, until

BODY = json.dumps({"model": NAME, "input": "hello"}).encode()


@contextmanager
def a_server(**flags: Any) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", frontends=2, workers=2, **flags) as server:
        yield server.ready()


def connections_of(pid: int) -> int:
    """Sockets of a process."""
    found = 0
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since
            found += str(path.readlink()).startswith("socket:")
    return found


def test_connections_are_distributed_evenly() -> None:
    with a_server() as server, ExitStack() as stack:
        until(lambda: server.metric("embedding_connections") == 1, "those of /readyz to be closed")
        before = [connections_of(pid) for pid in server.frontends]
        clients = [stack.enter_context(server.http()) for _ in range(64)]
        assert {client.get("/v1/models").status_code for client in clients} == {200}
        added = [connections_of(pid) - idle for pid, idle in zip(server.frontends, before, strict=True)]
        assert sum(added) >= 62  # that of /readyz may have been counted before
        assert abs(added[0] - added[1]) <= 2  # those of /readyz


def test_both_workers_compute() -> None:
    with a_server() as server:
        os.kill(server.workers[0], signal.SIGSTOP)
        with ThreadPoolExecutor() as pool:
            answers = [pool.submit(server.embeddings, input="hello")]
            until(lambda: answers[0].done() or server.tokens_in_flight == 3, "one to be with a worker")
            answers.append(pool.submit(server.embeddings, input="hello"))
            until(lambda: any(answer.done() for answer in answers), "the other worker to answer")
            os.kill(server.workers[0], signal.SIGCONT)
            assert [answer.result().status_code for answer in answers] == [200, 200]


def test_a_scrape_of_any_frontend_counts_all_requests() -> None:
    with a_server() as server:
        for _ in range(10):
            assert server.embeddings(input="hello").status_code == 200
        for _ in range(2):
            assert server.metric("embedding_requests_total", path="/openai/v1/embeddings", code="200") == 10
            assert server.metric("embedding_texts_total") == 10
            assert server.metric("embedding_workers") == 2
            assert server.metric("embedding_request_duration_seconds_count", path="/openai/v1/embeddings") == 10


def test_counters_do_not_decrease_while_a_frontend_is_stuck() -> None:
    with a_server() as server, ExitStack() as stack:
        clients = [stack.enter_context(server.http()) for _ in range(2)]  # one on each
        for client in clients:
            assert client.get("/v1/models").status_code == 200
        assert 'path="/v1/models"} 2.0' in clients[0].get("/metrics").text
        for pid in server.frontends:
            os.kill(pid, signal.SIGSTOP)
            if answers(clients[0]):
                break
            os.kill(pid, signal.SIGCONT)
        text = clients[0].get("/metrics").text
        assert 'path="/v1/models"} 2.0' in text
        assert "embedding_stale_frontends 1.0" in text


def answers(client: httpx.Client) -> bool:
    try:
        return client.get("/healthz", timeout=3).status_code == 200
    except httpx.TimeoutException:
        return False


def test_a_keys_budget_is_shared_by_all_frontends(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("tenant secret-of-sixteen 12\n")
    with a_server(api_keys_file=keys) as server:
        codes, left = [], []
        for _ in range(6):  # 3 tokens each, in turn with each frontend
            with server.http() as http:
                answer = http.post(
                    "/v1/embeddings",
                    content=BODY,
                    headers={"Authorization": "Bearer secret-of-sixteen", "Content-Type": "application/json"},
                )
            codes.append(answer.status_code)
            left.append(int(answer.headers["x-ratelimit-remaining-tokens"]))
        assert codes[:4] == [200] * 4
        assert set(codes[4:]) <= {200, 429}  # on a slow machine the budget refills meanwhile
        assert 429 in codes[4:]
        assert left[:2] == sorted(left[:2], reverse=True)


def test_sigterm_lets_running_requests_finish_on_all_frontends() -> None:
    with a_server() as server:
        workers, frontends = server.workers, server.frontends
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        until(lambda: not server.listens(), "new connections to be refused")
        for pid in workers:
            os.kill(pid, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in connections] == [True] * 4
        assert server.process.wait(120) == 0
        assert not any(map(is_running, [*workers, *frontends]))


def test_requests_beyond_the_grace_period_get_503_on_all_frontends() -> None:
    with a_server(grace_period=0.5) as server:
        for pid in server.workers:
            os.kill(pid, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        assert {b"503 Service Unavailable" in all_of(connection) for connection in connections} == {True}
        assert server.process.wait(120) == 0


def test_a_killed_worker_is_replaced_and_its_batch_is_retried_by_another() -> None:
    with a_server() as server:
        first, second = server.workers
        for pid in (first, second):
            os.kill(pid, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(2)]  # one with each
        until(lambda: server.tokens_in_flight == 6, "both to be with the workers")
        os.kill(first, signal.SIGKILL)
        os.kill(second, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in connections] == [True] * 2
        assert server.get("/readyz").status_code == 200
        until(lambda: server.metric("embedding_workers") == 2, "another worker to be ready")
        assert server.metric("embedding_worker_restarts_total") == 1
        assert first not in server.workers
        assert ", with 1 others left: the worker ended unexpectedly: killed" in server.log
        assert server.embeddings(input="hello").status_code == 200


def test_when_all_workers_are_killed_the_server_ends_as_with_one() -> None:
    with a_server() as server:
        workers = server.workers
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        connection = server.begin_request(BODY)
        for pid in workers:
            os.kill(pid, signal.SIGKILL)
        answer = all_of(connection)
        assert b"503 Service Unavailable" in answer
        assert b'"code":"backend_failed"' in answer
        assert server.process.wait(120) == KILLED
        assert "killed, most likely out of memory" in server.log.splitlines()[-1]


def test_when_a_frontend_is_killed_other_requests_get_503_and_all_processes_exit() -> None:
    with a_server() as server:
        workers, frontends = server.workers, server.frontends
        for pid in workers:
            os.kill(pid, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(2)]  # one on each
        os.kill(frontends[0], signal.SIGKILL)
        answers = [all_of_or_reset(connection) for connection in connections]
        assert sorted(b"503 Service Unavailable" in answer for answer in answers) == [False, True]
        assert server.process.wait(120) == KILLED
        assert "frontend 0 ended unexpectedly: killed, most likely out of memory" in server.log.splitlines()[-1]
        assert not any(map(is_running, [*workers, *frontends]))


def test_no_client_hangs_when_a_frontend_is_killed_under_load() -> None:
    with a_server(harmed=True, env={"FAKE_SECONDS_PER_TOKEN": "0.002"}) as server, ThreadPoolExecutor(32) as pool:
        asked = [pool.submit(server.embeddings, input="one two " * 20) for _ in range(200)]
        until(lambda: sum(each.done() for each in asked) > 20, "load")
        os.kill(server.frontends[1], signal.SIGKILL)
        assert server.process.wait(120) == KILLED
        faults = [each.exception(timeout=60) for each in asked]
        codes = {each.result().status_code for each, fault in zip(asked, faults, strict=True) if fault is None}
        assert codes <= {200, 503}
        assert all(fault is None or isinstance(fault, httpx.TransportError) for fault in faults)


def test_the_exit_code_does_not_depend_on_a_worker_that_was_replaced_before() -> None:
    with a_server() as server:
        os.kill(server.workers[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log, "another worker to be ready")
        os.kill(server.frontends[0], signal.SIGABRT)
        assert server.process.wait(120) == 1
        assert "frontend 0 ended unexpectedly: exit code 134" in server.log.splitlines()[-1]


def all_of_or_reset(connection: socket.socket) -> bytes:
    try:
        return all_of(connection)
    except ConnectionResetError:
        return b""


def test_all_processes_exit_when_the_scheduler_is_killed() -> None:
    with a_server() as server:
        others = [*server.workers, *server.frontends]
        connection = server.begin_request(BODY)
        server.stop(signal.SIGKILL)
        all_of_or_reset(connection)
        until(lambda: not any(map(is_running, others)), "frontends and workers to end")


def test_sigterm_before_it_is_ready_ends_it_with_exit_code_0() -> None:
    with RuntimeServer("fake", frontends=2, workers=2) as server:
        until(lambda: "listening on " in server.log, "it to listen")
        assert server.stop() == 0


def test_while_loading_it_is_alive_but_not_ready() -> None:
    with RuntimeServer("fake", frontends=2, workers=2) as server:
        until(lambda: len(server.workers) == 2, "the workers to be started")
        os.kill(server.workers[0], signal.SIGSTOP)
        until(server.listens, "it to listen")
        with server.http() as http:
            assert (http.get("/healthz").status_code, http.get("/readyz").status_code) == (200, 503)
        os.kill(server.workers[0], signal.SIGCONT)
        assert server.ready().stop() == 0


def test_a_model_that_cannot_be_served_ends_all(tmp_path: Path) -> None:
    with RuntimeServer("fake", frontends=2, workers=2, api_keys_file=tmp_path / "none") as server:
        assert server.process.wait(120) == 1
        assert "cannot use --api_keys_file" in server.log


def test_limits_of_connections_apply_to_the_whole_server() -> None:
    with a_server(max_connections=8) as server, ExitStack() as stack:
        for _ in range(20):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port), timeout=30))
        until(lambda: (server.metric("embedding_connections") or 99) <= 9, "the others to be closed")


@pytest.mark.parametrize("number", range(2))
def test_every_frontend_drains(number: int, tmp_path: Path) -> None:
    drain_file = tmp_path / "draining"
    with a_server(drain_file=drain_file) as server, ExitStack() as stack:
        clients = [stack.enter_context(server.http()) for _ in range(2)]
        for client in clients:
            client.get("/v1/models")
        drain_file.write_text("now")
        until(lambda: server.log.count("draining: each connection is closed") == 2, "both to see it")
        assert clients[number].get("/v1/models").headers.get("connection") == "close"
