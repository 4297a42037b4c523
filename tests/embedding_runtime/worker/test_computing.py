"""Batches launched ahead, with a simulated GPU."""

import threading
import time
from dataclasses import dataclass, field
from queue import SimpleQueue

import numpy as np
import pytest

from embedding_runtime.protocol.messages import Failed, Message, Vectors, Work
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import VectorRows, as_dense
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import BatchFailed
from embedding_runtime.worker.computing import compute_ahead


class Ended(Exception):
    """Ends the endless loop."""


@dataclass
class Batch:
    """A batch that is done when the test sets it."""

    name: int
    done: threading.Event = field(default_factory=threading.Event)
    fails: bool = False

    def is_done(self) -> bool:
        return self.done.is_set()

    def rows(self) -> VectorRows:
        if self.fails:
            raise BatchFailed("out of memory")
        return np.full((1, 2), self.name, dtype=np.float32)


class PlayedGpu:
    """A backend that records its calls. The first id of a text is the number of the batch; launching 7 fails."""

    def __init__(self) -> None:
        self.launched: list[Batch] = []
        self.sent: SimpleQueue[Message] = SimpleQueue()
        self.works: SimpleQueue[Work] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def padding(self, _: TokenBatch) -> int:
        return 0

    def launch(self, texts: TokenBatch, _: Output) -> Batch:
        if texts.ids[0] == 7:
            raise BatchFailed("no kernel")
        if texts.ids[0] == 9:
            raise Ended
        self.launched.append(Batch(int(texts.ids[0])))
        return self.launched[-1]

    def give(self, number: int) -> None:
        self.works.put(Work(number, TokenBatch.of([np.array([number], dtype=np.int32)])))

    def end(self) -> None:
        self.give(9)
        self._thread.join(60)
        assert not self._thread.is_alive()

    def _run(self) -> None:
        with pytest.raises(Ended):
            compute_ahead(self.works, self, self.launch, self.sent.put)  # type: ignore[arg-type] # as much as it needs


def wait_until(reached: "list[Batch]", number: int) -> None:
    limit = time.monotonic() + 60
    while len(reached) < number and time.monotonic() < limit:
        time.sleep(0.001)
    assert len(reached) == number


def rows_of(message: Message) -> tuple[int, float]:
    assert isinstance(message, Vectors)
    return message.batch, float(as_dense(message.rows)[0, 0])


def test_the_next_batch_is_launched_ahead_and_results_keep_their_order() -> None:
    gpu = PlayedGpu()
    gpu.start()
    gpu.give(1)
    gpu.give(2)
    wait_until(gpu.launched, 2)
    assert gpu.sent.empty()
    gpu.launched[1].done.set()
    gpu.launched[0].done.set()
    assert [rows_of(gpu.sent.get(timeout=60)) for _ in range(2)] == [(1, 1.0), (2, 2.0)]
    gpu.end()


def test_at_most_two_batches_are_launched() -> None:
    gpu = PlayedGpu()
    for number in (1, 2, 3):
        gpu.give(number)
    gpu.start()
    wait_until(gpu.launched, 2)
    gpu.launched[0].done.set()
    assert rows_of(gpu.sent.get(timeout=60)) == (1, 1.0)
    wait_until(gpu.launched, 3)
    for batch in gpu.launched:
        batch.done.set()
    assert [rows_of(gpu.sent.get(timeout=60))[0] for _ in range(2)] == [2, 3]
    gpu.end()


def test_only_the_batch_whose_launch_fails_fails() -> None:
    gpu = PlayedGpu()
    gpu.start()
    gpu.give(7)
    assert gpu.sent.get(timeout=60) == Failed(7)
    gpu.give(1)
    wait_until(gpu.launched, 1)
    gpu.launched[0].done.set()
    assert rows_of(gpu.sent.get(timeout=60)) == (1, 1.0)
    gpu.end()


def test_only_the_batch_whose_computation_fails_fails() -> None:
    gpu = PlayedGpu()
    gpu.start()
    gpu.give(1)
    gpu.give(2)
    wait_until(gpu.launched, 2)
    gpu.launched[0].fails = True
    for batch in gpu.launched:
        batch.done.set()
    assert gpu.sent.get(timeout=60) == Failed(1)
    assert rows_of(gpu.sent.get(timeout=60)) == (2, 2.0)
    gpu.end()
