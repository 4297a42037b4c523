"""Start, stop and crash of the two processes."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from embedding_runtime.contract import KILLED
from support.models import a_model
from support.processes import is_running
from support.runtime_server import NAME, RuntimeServer, all_of, until

BODY = json.dumps({"model": NAME, "input": "hello"}).encode()


def test_while_loading_it_is_alive_but_not_ready() -> None:
    with RuntimeServer("fake") as server:
        os.kill(server.worker, signal.SIGSTOP)  # it has been started this moment, and is far from ready
        until(server.listens, "the front to listen")
        with server.http() as http:
            alive, ready = http.get("/healthz"), http.get("/readyz")
        assert (alive.status_code, ready.status_code) == (200, 503)
        assert "loading" in ready.text
        answer = server.embeddings(input="a")
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
        assert answer.headers["Retry-After"] == "1"
        os.kill(server.worker, signal.SIGCONT)
        assert server.ready().stop() == 0


def test_sigterm_lets_running_requests_finish() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        os.kill(worker, signal.SIGSTOP)
        connection = server.begin_request(BODY)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM" in server.log, "the signal to be seen")
        os.kill(worker, signal.SIGCONT)
        assert b"200 OK" in all_of(connection)
        assert server.process.wait(120) == 0
        until(lambda: not is_running(worker), "the worker to end")


def test_ctrl_c_ends_it_as_well() -> None:
    with RuntimeServer("fake") as server:
        assert server.ready().stop(signal.SIGINT) == 0


def test_sigterm_before_it_is_ready_ends_it_with_exit_code_0() -> None:
    with RuntimeServer("fake") as server:
        until(lambda: "listening on " in server.log, "the front to listen")
        assert server.stop() == 0


def test_sigterm_right_after_the_start_ends_it_with_exit_code_0() -> None:
    """As a container's first process it would not end at all: signals without a handler do not reach it."""
    with RuntimeServer("fake") as server:
        until(lambda: handles(server.process.pid, signal.SIGTERM), "a handler")
        assert server.stop() == 0
        assert server.log == ""  # so it was before anything was read, or started


def handles(pid: int, number: signal.Signals) -> bool:
    (caught,) = [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt")]
    return bool(int(caught.split()[1], 16) >> (number - 1) & 1)


def test_sigterm_lets_queued_requests_finish() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        idle = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        idle.sendall(b"GET /readyz HTTP/1.1\r\nHost: test\r\n\r\n")
        answer = b""
        while not answer.endswith(b"tests only\n"):  # its body may come by itself
            answer += idle.recv(1 << 16)
        os.kill(worker, signal.SIGSTOP)
        connections = [server.begin_request(BODY) for _ in range(5)]  # one is with the worker, four wait
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM" in server.log, "the signal to be seen")
        assert all_of(idle) == b""  # closed: nothing was under way on it
        until(lambda: not server.listens(), "new connections to be refused")
        os.kill(worker, signal.SIGCONT)
        assert [b"200 OK" in all_of(connection) for connection in connections] == [True] * 5
        assert server.process.wait(120) == 0


def test_requests_beyond_the_grace_period_get_503() -> None:
    with RuntimeServer("fake", grace_period=0.5) as server:
        os.kill(server.ready().worker, signal.SIGSTOP)
        connection = server.begin_request(BODY)
        server.process.send_signal(signal.SIGTERM)
        answer = all_of(connection)
        assert b"503 Service Unavailable" in answer
        assert b"the server is stopping, and the request did not finish within 0.5 s" in answer
        assert server.process.wait(120) == 0


@pytest.mark.parametrize("frontends", [1, 2])
def test_an_upload_that_is_incomplete_after_the_grace_period_gets_503(frontends: int) -> None:
    with RuntimeServer("fake", grace_period=0.5, frontends=frontends) as server:
        server.ready()
        connection = socket.create_connection(("127.0.0.1", server.port), timeout=30)
        connection.sendall(b"POST /embed HTTP/1.1\r\nHost: test\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n")
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue")
        server.process.send_signal(signal.SIGTERM)
        answer = all_of(connection)
        assert b"503 Service Unavailable" in answer
        assert b'{"error":"the server is stopping","error_type":"Unhealthy"}' in answer
        assert server.process.wait(30) == 0
        assert "Traceback" not in server.log


def test_when_the_worker_dies_requests_get_503_and_the_process_exits() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        os.kill(worker, signal.SIGSTOP)
        connection = server.begin_request(BODY)
        os.kill(worker, signal.SIGKILL)
        answer = all_of(connection)
        assert b"503 Service Unavailable" in answer
        assert b'"code":"backend_failed"' in answer
        assert server.process.wait(120) == KILLED
        assert "killed, most likely out of memory" in server.log.splitlines()[-1]


def test_a_worker_that_hangs_does_not_keep_the_server_from_stopping() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        os.kill(worker, signal.SIGSTOP)
        connection = server.begin_request(BODY)
        server.process.send_signal(signal.SIGTERM)
        until(lambda: "SIGTERM" in server.log, "the signal to be seen")
        server.process.send_signal(signal.SIGTERM)  # again: not even for what is under way
        assert server.process.wait(120) == 0
        assert not is_running(worker)
        connection.close()


def test_the_worker_exits_when_the_frontend_is_killed() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        server.stop(signal.SIGKILL)
        until(lambda: not is_running(worker), "the worker to end")


def test_a_model_that_cannot_be_served_is_one_line(tmp_path: Path) -> None:
    with RuntimeServer("fake", model=a_model(tmp_path, modules=["Transformer", "Pooling", "LSTM"])) as server:
        assert server.process.wait(120) == 1
        (line,) = server.log.splitlines()
        assert f"cannot serve {NAME}: " in line
        assert "LSTM" in line


def test_a_missing_tokenizer_is_one_last_line(tmp_path: Path) -> None:
    with RuntimeServer("fake", model=a_model(tmp_path)) as server:
        assert server.process.wait(120) == 1
        assert "tokenizer.json" in server.log.splitlines()[-1]


def test_wrong_flags_are_all_named_at_once() -> None:
    with RuntimeServer("fake", tsk="embed", max_length="much") as server:
        assert server.process.wait(120) == 2
        assert [flag for flag in ("--tsk", "--max_length=much") if flag not in server.log] == []


def test_a_port_in_use_is_one_log_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with RuntimeServer("fake", http_port=port) as server:
            assert server.process.wait(120) == 1
            (line,) = server.log.splitlines()
            assert f"cannot listen on 127.0.0.1:{port}" in line


def test_a_disconnected_client_does_not_delay_others() -> None:
    with RuntimeServer("fake") as server:
        worker = server.ready().worker
        os.kill(worker, signal.SIGSTOP)
        for _ in range(5):
            server.begin_request(BODY).close()
        assert server.get("/healthz").status_code == 200
        os.kill(worker, signal.SIGCONT)
        assert server.embeddings(input="hello").status_code == 200


def test_the_maximum_length_can_be_lowered() -> None:
    with RuntimeServer("fake", max_length=4) as server:
        answer = server.ready().embeddings(input="three words here")
        assert answer.status_code == 400
        assert "has 5 tokens; the model's maximum is 4" in answer.json()["error"]["message"]
