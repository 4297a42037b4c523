"""Computes batches, one after the other. On a GPU, the next batch is launched while one is computed."""

import logging
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NoReturn

from embedding_runtime.protocol.messages import Failed, Message, Vectors, Work
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import Backend, BatchFailed, Launched

__all__ = ["MOST_LAUNCHED", "answer", "compute_ahead"]

_log = logging.getLogger("embedding_runtime.worker.main")

MOST_LAUNCHED = 2
"""Batches that are launched and not finished. The scheduler sends no more to a worker."""

NAP_SECONDS = 50e-6
"""Pause between checks of the GPU and of the queue. A batch takes a millisecond or more."""


def answer(backend: Backend, work: Work) -> Vectors | Failed:
    """Compute a batch, and return the answer."""
    return _answer(backend, work, lambda: backend.embed(work.texts, work.output))


def compute_ahead(
    works: "SimpleQueue[Work]",
    backend: Backend,
    launch: Callable[[TokenBatch, Output], Launched],
    send: Callable[[Message], None],
) -> NoReturn:
    """Compute all batches of the queue, in order. `launch`: of the backend.

    One thread is faster than two, which would compete for the interpreter at each operator.
    """
    launched: deque[tuple[Work, Launched]] = deque()
    while True:
        if len(launched) < MOST_LAUNCHED and not (launched and works.empty()):
            work = works.get()
            try:
                launched.append((work, launch(work.texts, work.output)))
            except BatchFailed as failed:
                send(_failed(work, failed))
        elif launched[0][1].is_done():
            work, batch = launched.popleft()
            send(_answer(backend, work, batch.rows))
        else:
            time.sleep(NAP_SECONDS)


def _answer(backend: Backend, work: Work, rows: Callable[[], Rows]) -> Vectors | Failed:
    try:
        return Vectors(work.batch, rows(), backend.padding(work.texts))
    except BatchFailed as failed:
        return _failed(work, failed)


def _failed(work: Work, failed: BatchFailed) -> Failed:
    alone = len(work.texts) == 1  # its traceback once, not for every half on the way to it
    _log.error("cannot compute a %s: %s", "text" if alone else "batch", failed, exc_info=failed if alone else None)
    return Failed(work.batch)
