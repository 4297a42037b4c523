"""Computes batches: one after the other, or two at once on half of the cores each. On a GPU, the next batch is launched
while one is computed.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import NoReturn

from embedding_runtime.contract import BackendName
from embedding_runtime.protocol.messages import Failed, Message, Vectors, Work
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import Backend, BatchFailed, Launched
from embedding_runtime.worker.fatal import fatal
from embedding_runtime.worker.io import SchedulerLink

__all__ = ["MOST_LAUNCHED", "compute", "compute_ahead"]

_log = logging.getLogger(__name__)

MOST_LAUNCHED = 2
"""Batches that are launched and not finished. The scheduler sends no more to a worker."""

NAP_SECONDS = 50e-6
"""Pause between checks of the GPU and of the queue. A batch takes a millisecond or more."""


def compute(link: SchedulerLink, name: BackendName, backend: Backend, *, overlapped: bool) -> NoReturn:
    """Compute exclusive batches in this thread, and concurrent ones in two other threads."""
    concurrent: SimpleQueue[Work] = SimpleQueue()
    if (use_half_the_cores := backend.use_half_the_cores) is not None:
        for _ in range(2):
            threading.Thread(
                target=_compute_concurrent,
                args=(link, name, backend, concurrent, use_half_the_cores),
                daemon=True,
            ).start()
    with fatal(link, name):
        if backend.launch is not None:
            compute_ahead(link.overlapped(), backend, backend.launch, link.send)
        for work in link.works(overlapped=overlapped):
            if work.exclusive:
                link.send(_answer_now(backend, work))
            else:
                concurrent.put(work)
    raise AssertionError("the link yields batches forever")


def _compute_concurrent(
    link: SchedulerLink,
    name: BackendName,
    backend: Backend,
    works: "SimpleQueue[Work]",
    use_half_the_cores: Callable[[], None],
) -> None:
    with fatal(link, name):
        use_half_the_cores()
        while True:
            link.send(_answer_now(backend, works.get()))


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


def _answer_now(backend: Backend, work: Work) -> Vectors | Failed:
    return _answer(backend, work, lambda: backend.embed(work.texts, work.output))


def _answer(backend: Backend, work: Work, rows: Callable[[], Rows]) -> Vectors | Failed:
    try:
        return Vectors(work.batch, rows(), backend.padding(work.texts))
    except BatchFailed as failed:
        return _failed(work, failed)


def _failed(work: Work, failed: BatchFailed) -> Failed:
    alone = len(work.texts) == 1  # its traceback once, not for every half on the way to it
    _log.error("cannot compute a %s: %s", "text" if alone else "batch", failed, exc_info=failed if alone else None)
    return Failed(work.batch)
