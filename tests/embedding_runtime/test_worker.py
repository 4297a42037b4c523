"""The worker as a process, with a backend that computes two batches at once."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import numpy as np

from embedding_runtime.wire import Message, Ready, Vectors, Work, pack, receive_sync
from support.models import packaged_minilm

MEETING = """
import sys, threading
import numpy as np
from embedding_runtime import worker

class Meeting:
    '''Halves end only when two are computed at once. Rows say: in the main thread, with half of the machine.'''

    detail, batch_tokens = "meeting", 1024
    _both, _halved = threading.Barrier(2, timeout=10), threading.local()

    def halve(self):
        self._halved.yes = True

    def embed(self, batch):
        main, halved = threading.current_thread() is threading.main_thread(), hasattr(self._halved, "yes")
        if not main:
            self._both.wait()
        return np.tile(np.array([main, halved], dtype=np.float32), (len(batch), 1))

    def padding(self, batch):
        return 0

worker.prove = lambda *_: None
worker.registry.load = lambda *_, **__: Meeting()
sys.exit(worker.main(sys.argv[1:]))
"""

TEXTS = [np.array([1, 2], dtype=np.int32)]
IN_THE_MAIN_THREAD, WITH_HALF_OF_THE_MACHINE = [1, 0], [0, 1]


@contextmanager
def a_worker() -> Iterator[tuple[socket.socket, BinaryIO]]:
    ours, theirs = socket.socketpair()
    with ours, theirs, ours.makefile("rb") as stream:
        ours.settimeout(20)
        argv = [sys.executable, "-c", MEETING, str(theirs.fileno())]
        argv += [f"--model_dir={packaged_minilm()}", "--model_name=m", "--backend=fake"]
        with subprocess.Popen(argv, pass_fds=[theirs.fileno()]) as process:
            theirs.close()
            try:
                yield ours, stream
                ours.shutdown(socket.SHUT_RDWR)
                assert process.wait(timeout=10) == 0
            finally:
                process.kill()


def row(message: Message | None) -> list[float]:
    assert isinstance(message, Vectors)
    return [float(number) for number in message.rows[0]]


def test_two_halves_are_computed_at_once_and_a_whole_by_the_main_thread() -> None:
    with a_worker() as (link, stream):
        assert receive_sync(stream) == Ready("meeting", halves=True, batch_tokens=1024)
        for number in range(2):
            link.sendall(pack(Work(number, TEXTS, whole=False)))
        assert [row(receive_sync(stream)) for _ in range(2)] == [WITH_HALF_OF_THE_MACHINE] * 2
        link.sendall(pack(Work(2, TEXTS)))
        assert row(receive_sync(stream)) == IN_THE_MAIN_THREAD
