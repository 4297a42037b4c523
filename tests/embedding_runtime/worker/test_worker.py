"""The worker as a process, with a backend that computes two batches at once: what it answers, and how it ends."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np
import pytest

from embedding_runtime.protocol.frames import pack, receive_sync
from embedding_runtime.protocol.messages import Broken, Failed, Message, Ready, Vectors, Work
from embedding_runtime.protocol.token_batch import TokenBatch
from support.models import packaged_minilm

MEETING = """
import sys, threading
import numpy as np
from embedding_runtime.worker import main as worker
from embedding_runtime.worker.backends.base import BatchFailed

class Meeting:
    '''Halves end only when two are computed at once. Rows say: in the main thread, with half of the machine.

    A text that begins with -1 fails after that, one with -2 takes the backend with it, alone; of one with -3 come rows
    that are none.
    '''

    detail, batch_tokens, cosine, launch = "meeting", 1024, None, None
    _both, _halved = threading.Barrier(2, timeout=10), threading.local()

    def use_half_the_cores(self):
        self._halved.yes = True

    def embed(self, batch):
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

worker.prove = lambda *_: None
worker.measure = lambda *_, **__: worker.Speed(1024, 5000)
worker.registry.load = lambda *_, **__: Meeting()
sys.exit(worker.main(sys.argv[1:]))
"""

TEXTS, FAILING, BREAKING, SHAPELESS = (
    TokenBatch.of([np.array([first, 2], dtype=np.int32)]) for first in (1, -1, -2, -3)
)
IN_THE_MAIN_THREAD, WITH_HALF_OF_THE_MACHINE = [1, 0], [0, 1]


@contextmanager
def a_worker() -> Iterator[tuple[socket.socket, BinaryIO, "subprocess.Popen[bytes]"]]:
    """The front's end of the link, what comes over it after Ready, and the process."""
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        ours.settimeout(20)
        argv = [sys.executable, "-c", MEETING, str(theirs.fileno()), SHARE]
        argv += [f"--model_dir={packaged_minilm()}", "--model_name=m", "--backend=fake"]
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            try:
                assert receive_sync(stream) == Ready(
                    "meeting", concurrent=True, batch_tokens=1024, tokens_per_second=5000
                )
                yield ours, stream, process
            finally:
                process.kill()


SHARE = '{"niceness": 0, "cores": []}'


def send(link: socket.socket, message: Message) -> None:
    link.sendall(b"".join(pack(message)))


def row(message: Message | None) -> list[float]:
    assert isinstance(message, Vectors)
    return [float(number) for number in message.rows[0]]


def test_two_halves_are_computed_at_once_and_a_whole_by_the_main_thread() -> None:
    with a_worker() as (link, stream, _):
        for number in range(2):
            send(link, Work(number, TEXTS, exclusive=False))
        assert [row(receive_sync(stream)) for _ in range(2)] == [WITH_HALF_OF_THE_MACHINE] * 2
        send(link, Work(2, TEXTS))
        assert row(receive_sync(stream)) == IN_THE_MAIN_THREAD


def test_a_half_that_fails_leaves_the_other_alone_and_more_can_come() -> None:
    with a_worker() as (link, stream, _):
        for _ in range(2):
            send(link, Work(0, FAILING, exclusive=False))
            send(link, Work(1, TEXTS, exclusive=False))
            answers = [receive_sync(stream), receive_sync(stream)]
            assert Failed(0) in answers
            assert [answer.batch for answer in answers if isinstance(answer, Vectors)] == [1]


@pytest.mark.parametrize("exclusive", [True, False])
def test_what_the_backend_does_not_vouch_for_ends_the_process_whatever_else_it_computes(*, exclusive: bool) -> None:
    with a_worker() as (link, stream, process):
        send(link, Work(0, TEXTS, exclusive=False))  # waits for another half, which does not come
        send(link, Work(1, BREAKING, exclusive=exclusive))
        assert receive_sync(stream) == Broken("the fake backend failed: RuntimeError: out of cheese")
        assert receive_sync(stream) is None
        assert process.wait(timeout=5) == 1


@pytest.mark.parametrize("exclusive", [True, False])
def test_an_answer_that_cannot_be_sent_ends_the_process_and_is_told(*, exclusive: bool) -> None:
    with a_worker() as (link, stream, process):
        send(link, Work(0, SHAPELESS, exclusive=exclusive))
        told = receive_sync(stream)
        assert isinstance(told, Broken)
        assert told.message.startswith("the fake backend failed: error: pack expected 4 items")
        assert process.wait(timeout=5) == 1


@pytest.mark.parametrize("works", [[], [Work(0, TEXTS, exclusive=False)]], ids=["idle", "at work"])
def test_when_the_front_goes_it_ends_idle_or_at_work(works: list[Work]) -> None:
    with a_worker() as (link, _, process):
        for work in works:
            send(link, work)
        link.shutdown(socket.SHUT_RDWR)
        assert process.wait(timeout=5) == 0
