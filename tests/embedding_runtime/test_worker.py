"""The worker's lanes: how batches find a thread."""

import threading
from collections.abc import Sequence

import numpy as np

from embedding_runtime import worker
from embedding_runtime.wire import TokenIds, VectorRows, Vectors, Work

TEXTS = [np.array([1, 2], dtype=np.int32)]


class Meeting:
    """A backend whose batches end only when two are computed at once."""

    detail, lanes, batch_tokens = "meeting", 2, 1024

    def __init__(self) -> None:
        self._both = threading.Barrier(2, timeout=10)

    def embed(self, batch: Sequence[TokenIds]) -> VectorRows:
        self._both.wait()
        return np.zeros((len(batch), 3), dtype=np.float32)

    def padding(self, batch: Sequence[TokenIds]) -> int:
        return 0


def test_two_batches_are_computed_at_once() -> None:
    inbox, backend, answers = worker._Inbox(), Meeting(), []

    def one() -> None:
        answers.append(worker._answer(backend, inbox.get()))

    for number in range(2):
        inbox.put(Work(number, TEXTS))
    beside = threading.Thread(target=one)
    beside.start()
    one()
    beside.join()
    assert sorted(answer.batch for answer in answers if isinstance(answer, Vectors)) == [0, 1]


def test_a_main_thread_that_computes_nothing_comes_before_a_lane_that_was_there_first() -> None:
    inbox, taken = worker._Inbox(), []
    beside = threading.Thread(target=lambda: taken.append(inbox.get().batch))
    beside.start()
    for round_ in range(2):
        inbox.put(Work(round_, TEXTS))
        assert inbox.get().batch == round_
        if not round_:
            inbox.computed()  # free again: the next one is the main thread's, too
    inbox.put(Work(2, TEXTS))
    beside.join()
    assert taken == [2]
