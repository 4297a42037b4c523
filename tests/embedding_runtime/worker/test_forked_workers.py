"""Several workers on CPUs are forked from one process that has loaded the model."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from embedding_runtime.contract import KILLED
from embedding_runtime.forking import Loader
from embedding_runtime.protocol.frames import receive_sync
from embedding_runtime.protocol.messages import Ready
from support.models import GOLDEN_ENDS, GOLDEN_TEXT, packaged_minilm
from support.processes import is_running, private_memory
from support.runtime_server import RuntimeServer, until

pytestmark = pytest.mark.model

PRIVATE = 200 << 20
"""Bytes of a worker's own, at most: an idle one that loads the model itself has 470 MiB."""

LOADING = "loading /"


@contextmanager
def a_server(**flags: Any) -> Iterator[RuntimeServer]:
    with RuntimeServer("huggingface", workers=2, frontends=1, **flags) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def forking_server() -> Iterator[RuntimeServer]:
    """For tests that leave two workers and the first loader behind."""
    with a_server() as server:
        yield server


def serves(server: RuntimeServer) -> bool:
    vector = server.embeddings(input=GOLDEN_TEXT).json()["data"][0]["embedding"]
    return bool(vector[:3] + vector[-3:] == pytest.approx(GOLDEN_ENDS, abs=1e-5))


def is_complete(server: RuntimeServer) -> bool:
    return server.metric("embedding_workers") == 2


def test_workers_share_the_memory_of_the_model_which_is_loaded_once(forking_server: RuntimeServer) -> None:
    assert serves(forking_server)
    assert [private_memory(pid) < PRIVATE for pid in forking_server.workers] == [True, True]
    assert forking_server.log.count(LOADING) == 1
    assert forking_server.metric("embedding_worker_process_resident_memory_bytes")


def test_a_killed_worker_is_reported_and_forked_again_without_loading(forking_server: RuntimeServer) -> None:
    first = forking_server.workers[0]
    os.kill(first, signal.SIGKILL)
    until(lambda: "is ready again" in forking_server.log, "another worker to be ready")
    assert "the worker ended unexpectedly: killed, most likely out of memory" in forking_server.log
    until(lambda: is_complete(forking_server), "it to count")
    assert first not in forking_server.workers
    assert len(forking_server.workers) == 2
    assert forking_server.log.count(LOADING) == 1
    assert serves(forking_server)


def test_workers_outlive_their_loader_and_the_next_one_loads_the_model_again() -> None:
    with a_server() as server:
        workers, loader = server.workers, server.loader
        os.kill(loader, signal.SIGKILL)
        until(lambda: not is_running(loader), "the loader to be gone")
        assert server.workers == workers
        assert serves(server)
        assert is_complete(server)
        os.kill(workers[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log, "another worker to be ready", seconds=420)
        assert "loading the model again: the process that had loaded it ended unexpectedly: killed" in server.log
        assert server.log.count(LOADING) == 2
        assert server.loader not in (loader, *server.workers)
        assert workers[1] in server.workers
        assert len(server.workers) == 2
        assert serves(server)


def test_when_all_workers_are_killed_the_server_ends() -> None:
    with a_server() as server:
        for pid in server.workers:
            os.kill(pid, signal.SIGKILL)
        assert server.process.wait(120) == KILLED
        assert "killed, most likely out of memory" in server.log.splitlines()[-1]


def test_a_loader_that_is_killed_while_loading_ends_the_server() -> None:
    with RuntimeServer("huggingface", workers=2, frontends=1) as server:
        until(lambda: LOADING in server.log, "it to load")
        os.kill(server.loader, signal.SIGKILL)
        assert server.process.wait(120) == KILLED
        assert "killed, most likely out of memory" in server.log.splitlines()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_server_that_ends(number: signal.Signals) -> None:
    with a_server() as server:
        others = [server.loader, *server.workers]
        assert server.stop(number) == (0 if number is signal.SIGTERM else -number)
        until(lambda: not any(map(is_running, others)), "all processes to end")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_server_that_ends_while_loading(number: signal.Signals) -> None:
    with RuntimeServer("huggingface", workers=2, frontends=1) as server:
        until(lambda: LOADING in server.log, "it to load")
        loader = server.loader
        server.stop(number)
        until(lambda: not is_running(loader), "the loader to end")
        assert "loaded in" not in server.log


def test_a_worker_that_does_not_react_is_killed() -> None:
    with a_server() as server:
        workers = server.workers
        os.kill(workers[0], signal.SIGSTOP)
        assert server.stop() == 0
        assert not any(map(is_running, workers))


def test_a_model_that_cannot_be_loaded_is_reported_once(tmp_path: Path) -> None:
    model = shutil.copytree(packaged_minilm(), tmp_path / "model")
    weights = next(model.glob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100_000])
    with RuntimeServer("huggingface", workers=2, frontends=1, model=model) as server:
        assert server.process.wait(240) == 1
        assert f"transformers cannot load {model}: SafetensorError: " in server.log.splitlines()[-1]
        assert server.log.count(LOADING) == 1


def test_each_worker_has_the_threads_of_its_share() -> None:
    choice = {"backend": "huggingface", "reason": "asked for", "falls_back": False}
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    argv = [sys.executable, "-m", "embedding_runtime.worker.loader", str(theirs.fileno())]
    argv += [json.dumps({"niceness": 0, "choice": choice}), f"--model_dir={packaged_minilm()}", "--model_name=m"]
    with theirs:
        process = subprocess.Popen(argv, pass_fds=[theirs.fileno()], env={**os.environ, "OMP_NUM_THREADS": "1"})
    with process:
        loader = Loader(ours, process)
        assert [threads_of_a_worker(loader, threads) for threads in (2, 1)] == [2, 1]
        loader.stop()


def test_a_loader_whose_supervisor_ended_while_it_started_does_not_load() -> None:
    choice = {"backend": "huggingface", "reason": "asked for", "falls_back": False}
    ours, theirs = socket.socketpair(type=socket.SOCK_SEQPACKET)
    ours.close()
    argv = [sys.executable, "-m", "embedding_runtime.worker.loader", str(theirs.fileno())]
    argv += [json.dumps({"niceness": 0, "choice": choice}), f"--model_dir={packaged_minilm()}", "--model_name=m"]
    with theirs:
        ended = subprocess.run(argv, pass_fds=[theirs.fileno()], stderr=subprocess.PIPE, check=True, timeout=60)
    assert LOADING.encode() not in ended.stderr


def threads_of_a_worker(loader: Loader, threads: int) -> int:
    """The number by the worker's own word: it computes two batches at once only if it has two threads."""
    link, its = socket.socketpair()
    with link, link.makefile("rb") as stream:
        with its:
            loader.fork({"threads": threads, "cores": []}, its)
        ready = receive_sync(stream)
    assert isinstance(ready, Ready)
    return 2 if ready.concurrent else 1


DIES_AFTER_A_FORK = """
import os, signal, sys, threading
if "embedding_runtime.worker.loader" in sys.orig_argv:
    loader = os.getpid()
    def waitpid(pid, options, wait=os.waitpid):
        if os.getpid() == loader and sys._getframe(1).f_code.co_name == "_fork":
            os.kill(loader, signal.SIGKILL)
        return wait(pid, options)
    def setpgid(*_):
        open(os.environ["PID_FILE"], "w").write(str(os.getpid()))
        threading.Event().wait()
    os.waitpid, os.setpgid = waitpid, setpgid
"""


@pytest.mark.parametrize("number", [None, signal.SIGKILL], ids=["end", "kill"])
def test_nothing_is_left_of_a_worker_whose_loader_was_killed_right_after_it_was_forked(
    tmp_path: Path, number: signal.Signals | None
) -> None:
    (tmp_path / "sitecustomize.py").write_text(DIES_AFTER_A_FORK)
    pid = tmp_path / "pid"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with RuntimeServer("huggingface", workers=2, env={"PYTHONPATH": path, "PID_FILE": str(pid)}) as server:
        until(lambda: pid.is_file() and pid.read_text() != "", "a worker that does not react", seconds=420)
        if number is not None:
            server.stop(number)
        assert server.process.wait(120) == (KILLED if number is None else -number)
        until(lambda: not is_running(int(pid.read_text())), "the worker to end")


LEAVES_A_THREAD = """
import sys, threading
if sys.orig_argv[-1].startswith("--") and "embedding_runtime.worker.loader" in sys.orig_argv:
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


@pytest.mark.slow
def test_each_worker_loads_the_model_itself_if_loading_leaves_threads_behind(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(LEAVES_A_THREAD)
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    with a_server(env={"PYTHONPATH": path}) as server:
        assert "each loads it again: loading left 1 threads behind" in server.log
        assert server.log.count(LOADING) == 3
        assert serves(server)
        os.kill(server.workers[0], signal.SIGKILL)
        until(lambda: "is ready again" in server.log, "another worker to be ready", seconds=420)
