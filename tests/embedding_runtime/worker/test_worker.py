"""The worker process with a concurrent backend: its answers, and how it exits."""

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pytest

from embedding_runtime.protocol.frames import pack, receive_sync
from embedding_runtime.protocol.messages import Broken, Failed, LoadedModel, Message, Ready, Vectors, Work
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from support.models import packaged_minilm

MEETING = """
import os, sys, threading
import numpy as np
from embedding_runtime.worker import main as worker, warm_up
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import BatchFailed

class Meeting:
    '''Concurrent batches end only if two run at once. Rows: whether in the main thread, whether with half the cores.

    A text that starts with -1 then fails with BatchFailed, with -2 with another exception at once, and with -3 it
    returns rows of a wrong shape.
    '''

    detail, batch_tokens, cosine, launch = "meeting", 1024, None, None
    _both, _halved = threading.Barrier(2, timeout=60), threading.local()

    def use_half_the_cores(self):
        self._halved.yes = True

    def embed(self, batch, output=None):
        main, halved = threading.current_thread() is threading.main_thread(), hasattr(self._halved, "yes")
        if batch.ids[0] == -2:
            raise RuntimeError("out of cheese")
        if batch.ids[0] == -3:
            return np.zeros(2, dtype=np.float32)
        if not main:
            self._both.wait()
        if batch.ids[0] == -1:
            raise BatchFailed("no such text")
        return np.tile(np.array([main, halved], dtype=np.float32), (len(batch), 1))

    def padding(self, batch):
        return 0

warm_up.warm_up = lambda *_: None
warm_up.measure = lambda *_, **__: warm_up.Speed(1024, 5000)
def load(name, *_, **__):
    if name == "vllm":
        raise worker.ModelRefused(os.environ.pop("REFUSAL"))
    return Meeting()

registry.load = load
sys.exit(worker.main(sys.argv[1:]))
"""

TEXTS, FAILING, BREAKING, SHAPELESS = (
    TokenBatch.of([np.array([first, 2], dtype=np.int32)]) for first in (1, -1, -2, -3)
)
IN_THE_MAIN_THREAD, WITH_HALF_OF_THE_MACHINE = [1, 0], [0, 1]


@contextmanager
def a_worker(*, refusal: str = "") -> Iterator[tuple[socket.socket, BinaryIO, "subprocess.Popen[bytes]"]]:
    """The front's end of the link, what comes over it after Ready, and the process.

    `refusal`: what vllm says, from which huggingface takes over.
    """
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        ours.settimeout(120)
        share = json.dumps({**json.loads(SHARE), "choice": {**CHOICE, "backend": "vllm", "falls_back": True}})
        argv = [sys.executable, "-c", MEETING, str(theirs.fileno()), share if refusal else SHARE]
        argv += [f"--model_dir={packaged_minilm()}", "--model_name=m"]
        environment = {**os.environ, "REFUSAL": refusal}
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()], env=environment) as process:
            theirs.close()
            try:
                assert receive_sync(stream) == Ready(
                    *("meeting", True, 1024, 5000),
                    model=LoadedModel("huggingface", refusal) if refusal else LoadedModel("fake", "asked for"),
                )
                yield ours, stream, process
            finally:
                process.kill()


CHOICE = {"backend": "fake", "reason": "asked for", "falls_back": False}
SHARE = json.dumps({"niceness": 0, "cores": [], "choice": CHOICE})


def send(link: socket.socket, message: Message) -> None:
    link.sendall(b"".join(pack(message)))


def row(message: Message | None) -> list[float]:
    assert isinstance(message, Vectors)
    return [float(number) for number in as_dense(message.rows)[0]]


def test_two_batches_run_concurrently_and_an_exclusive_one_in_the_main_thread() -> None:
    with a_worker() as (link, stream, _):
        for number in range(2):
            send(link, Work(number, TEXTS, exclusive=False))
        assert [row(receive_sync(stream)) for _ in range(2)] == [WITH_HALF_OF_THE_MACHINE] * 2
        send(link, Work(2, TEXTS))
        assert row(receive_sync(stream)) == IN_THE_MAIN_THREAD


def test_a_failing_half_does_not_affect_the_other_and_can_be_split_again() -> None:
    with a_worker() as (link, stream, _):
        for _ in range(2):
            send(link, Work(0, FAILING, exclusive=False))
            send(link, Work(1, TEXTS, exclusive=False))
            answers = [receive_sync(stream), receive_sync(stream)]
            assert Failed(0) in answers
            assert [answer.batch for answer in answers if isinstance(answer, Vectors)] == [1]


@pytest.mark.parametrize("exclusive", [True, False])
def test_any_exception_other_than_batch_failed_ends_the_process(*, exclusive: bool) -> None:
    with a_worker() as (link, stream, process):
        send(link, Work(0, TEXTS, exclusive=False))  # waits for another half, which does not come
        send(link, Work(1, BREAKING, exclusive=exclusive))
        assert receive_sync(stream) == Broken("the fake backend failed: RuntimeError: out of cheese")
        assert receive_sync(stream) is None
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_answer_that_cannot_be_sent_ends_the_process_and_is_logged(*, exclusive: bool) -> None:
    with a_worker() as (link, stream, process):
        send(link, Work(0, SHAPELESS, exclusive=exclusive))
        told = receive_sync(stream)
        assert isinstance(told, Broken)
        assert told.message.startswith("the fake backend failed: error: pack expected 4 items")
        assert process.wait(timeout=60) == 1


@pytest.mark.parametrize("works", [[], [Work(0, TEXTS, exclusive=False)]], ids=["idle", "at work"])
def test_the_worker_exits_with_its_frontend(works: list[Work]) -> None:
    with a_worker() as (link, _, process):
        for work in works:
            send(link, work)
        link.shutdown(socket.SHUT_RDWR)
        assert process.wait(timeout=60) == 0


def test_the_worker_falls_back_to_huggingface_in_the_same_process() -> None:
    with a_worker(refusal="vLLM cannot serve it exactly") as (link, stream, process):
        send(link, Work(0, TEXTS))
        assert row(receive_sync(stream)) == IN_THE_MAIN_THREAD
        assert process.poll() is None
