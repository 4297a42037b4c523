"""The process of the backend: load, self test, then batches in and vectors out.

`python -m embedding_runtime.worker.main FD FLAGS`, started by `launch` with its end of a socketpair as file descriptor
FD. It ends when the front does, whatever it is doing: a thread of its own watches.
"""

import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from queue import SimpleQueue
from typing import NoReturn

import numpy as np

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.observability import logs
from embedding_runtime.protocol.messages import (
    Broken,
    Failed,
    Message,
    Ready,
    TokenIds,
    Vectors,
    Work,
    pack,
    receive_sync,
)
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import Backend, BatchFailed, LoadOptions

__all__ = ["Speed", "main", "measure", "prove"]

_log = logging.getLogger("embedding_runtime.worker.main")

NICENESS = 10
"""The front comes first on a busy core: it needs little, and health must not wait behind a batch."""

LONG = 2048
"""Tokens of the longest input that is tried at start: some decoders take 32,768, which is minutes on a CPU."""

MEASURE_SECONDS = 0.5
"""What a full batch may take at start, or more of them where loading took more than ten times as long."""

MEASURE_SHARE = 0.1


def main(argv: Sequence[str]) -> int:
    """Exit code: 1 when the model cannot be served, or the backend has failed."""
    link = socket.socket(fileno=int(argv[0]))
    args = ServeArgs.from_argv(argv[1:])
    logs.configure(args.log_format, sees_texts=False)
    front = _Front(link, args.backend)
    os.nice(NICENESS)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the front decides when to end
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_watch, args=(link,), daemon=True).start()
    try:
        backend, speed = _load(args)
    except ModelRefused as refused:
        front.say(Broken(str(refused)))
    except Exception as error:  # noqa: BLE001 a library may raise anything; the front is told, and this process ends
        front.say_broken(error)
    else:
        front.say(
            Ready(
                backend.detail,
                backend.halve is not None,
                speed.batch_tokens,
                speed.tokens_per_second,
                backend.cosine,
            )
        )
        _compute(link, front, backend)
    return 1


def prove(backend: Backend, spec: ModelSpec) -> None:
    """Warms the backend up with one token and with a long input. Raises ModelRefused for what is not vectors."""
    longest = min(spec.max_length, LONG)
    probes = [np.arange(length, dtype=np.int32) % spec.vocabulary for length in (1, longest)]
    rows = backend.embed(probes)
    if rows.shape != (len(probes), spec.dimensions):
        raise ModelRefused(f"{spec.directory} gives vectors of shape {rows.shape[1:]}, its files say {spec.dimensions}")
    if not np.isfinite(rows).all():
        raise ModelRefused(f"{spec.directory} gives NaN or infinity in {spec.dtype}: try --dtype=float32")


@dataclass(frozen=True)
class Speed:
    """What a batch of full size was found to take."""

    batch_tokens: int
    """Of the largest batch that should be given."""
    tokens_per_second: float


def measure(backend: Backend, spec: ModelSpec, *, within: float) -> Speed:
    """Compute a batch of full size; where that would take longer than `within` seconds, by one text, only that.

    Where there is too little memory for it, batches are made half as large, and so on. Raises what `embed` does for
    one text.
    """
    probe = np.arange(min(spec.max_length, _PROBE, backend.batch_tokens), dtype=np.int32) % spec.vocabulary
    tokens, speed = backend.batch_tokens, _speed(backend, [probe])
    while len(probe) < tokens <= within * speed:
        try:
            return Speed(tokens, _speed(backend, [probe] * (tokens // len(probe))))
        except BatchFailed as failed:
            _log.warning("a batch of %d tokens cannot be computed, batches have half as many: %s", tokens, failed)
            tokens //= 2
    return Speed(tokens, speed)


_PROBE = 256
"""Tokens of a text whose time tells whether a full batch is worth its own."""


def _speed(backend: Backend, batch: Sequence[TokenIds]) -> float:
    begin = time.perf_counter()
    backend.embed(batch)
    return sum(map(len, batch)) / (time.perf_counter() - begin)


def _load(args: ServeArgs) -> tuple[Backend, Speed]:
    begin = time.monotonic()
    spec = ModelSpec.asked_for(args)
    _log.info("loading %s in %s with %s", spec.directory, spec.dtype, args.backend)
    for assumption in spec.assumed:
        _log.warning("assumed: %s", assumption)
    options = LoadOptions(minimum_cosine=args.minimum_cosine, allow_padded=args.allow_padded)
    backend = registry.load(args.backend, spec, options, allow_pickle=args.allow_pickle)
    _log.info("loaded in %.1f s: %s; warming up", time.monotonic() - begin, backend.detail)
    prove(backend, spec)
    within = max(MEASURE_SECONDS, MEASURE_SHARE * (time.monotonic() - begin))
    return backend, measure(backend, spec, within=within)


class _Front:
    """Whom the worker answers. Threads share it: one frame at a time."""

    def __init__(self, link: socket.socket, backend: BackendName) -> None:
        self._link, self._backend = link, backend
        self._speaking = threading.Lock()

    def say(self, message: Message) -> None:
        """Ends the process where the front is gone."""
        try:
            with self._speaking:
                self._link.sendall(pack(message))
        except BrokenPipeError:
            os._exit(0)

    def say_broken(self, error: Exception) -> None:
        _log.error("the %s backend has failed", self._backend, exc_info=error)
        words = " ".join(str(error).split())
        self.say(Broken(f"the {self._backend} backend failed: {type(error).__name__}: {words}"))


def _compute(link: socket.socket, front: _Front, backend: Backend) -> NoReturn:
    """Whole batches here, one after the other; halves in two threads, while this one waits for what comes next."""
    halves: SimpleQueue[Work] = SimpleQueue()
    if backend.halve is not None:
        for _ in range(2):
            threading.Thread(target=_compute_halves, args=(front, backend, halves, backend.halve), daemon=True).start()
    with _vouched_for(front), link.makefile("rb") as stream:
        while isinstance(work := receive_sync(stream), Work):
            if work.whole:
                front.say(_answer(backend, work))
            else:
                halves.put(work)
    os._exit(0)  # the front is gone


def _compute_halves(front: _Front, backend: Backend, halves: "SimpleQueue[Work]", halve: Callable[[], None]) -> None:
    with _vouched_for(front):
        halve()
        while True:
            front.say(_answer(backend, halves.get()))


@contextmanager
def _vouched_for(front: _Front) -> Iterator[None]:
    """What the backend does not vouch for ends the process, whichever thread it comes up in."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 as while it loads
        front.say_broken(error)
        os._exit(1)


def _answer(backend: Backend, work: Work) -> Vectors | Failed:
    try:
        return Vectors(work.batch, backend.embed(work.texts), backend.padding(work.texts))
    except BatchFailed as failed:
        alone = len(work.texts) == 1  # its traceback once, not for every half on the way to it
        _log.error("the backend failed for %s: %s", "a text" if alone else "a batch", failed, exc_info=alone)
        return Failed(work.batch)


def _watch(link: socket.socket) -> None:
    """Ends the process when the front is gone: the main thread may be minutes deep in a library."""
    gone = select.poll()
    gone.register(link, select.POLLHUP)
    gone.poll()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
