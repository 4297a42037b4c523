"""The worker process: loads the model, tests itself, then computes vectors for batches.

`launch` starts it as `python -m embedding_runtime.worker.main FD SHARE FLAGS`: FD is the file descriptor of its end of
a socketpair, SHARE its share of the machine as JSON. It exits when the scheduler exits.
"""

import json
import logging
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from queue import SimpleQueue
from typing import Any, NoReturn

import numpy as np

from embedding_runtime.contract import BackendName, Dtype, ServeArgs
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import logs
from embedding_runtime.protocol.messages import VLLM_FAILED, Broken, LoadedModel, Ready, Work
from embedding_runtime.protocol.rows import are_finite
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import registry
from embedding_runtime.worker.backends.base import Backend, BatchFailed, LoadOptions
from embedding_runtime.worker.backends.choice import Choice
from embedding_runtime.worker.computing import answer, compute_ahead
from embedding_runtime.worker.io import SchedulerLink

__all__ = [
    "LoadedBackend",
    "Speed",
    "broken",
    "choice_of",
    "load",
    "main",
    "measure",
    "settle",
    "speed_of",
    "warm_up",
    "work",
]

_log = logging.getLogger("embedding_runtime.worker.main")

LONG = 2048
"""Maximum tokens of the warm-up input. Some decoders accept 32,768 tokens, which take minutes on a CPU."""

MEASURE_SECONDS = 0.5
"""Maximum duration of a full batch at startup, or MEASURE_SHARE of the loading time if that is more."""

MEASURE_SHARE = 0.1


@dataclass(frozen=True)
class LoadedBackend:
    """A backend that has loaded the model and is not warmed up."""

    spec: ModelSpec
    backend: Backend
    seconds: float
    """How long loading took."""
    on_gpu: bool


def main(argv: Sequence[str]) -> int:
    """Returns exit code 1 if the model cannot be served or the backend fails; otherwise it does not return."""
    environment = dict(os.environ)  # before libraries change it
    share: Mapping[str, Any] = json.loads(argv[1])
    args = ServeArgs.from_argv(argv[2:])
    logs.configure(args.log_format, sees_texts=False)
    link = SchedulerLink(socket.socket(fileno=int(argv[0])))
    settle(share)

    def failed(error: Exception) -> None:
        if choice_of(share).falls_back:
            _fall_back(argv, error, environment)

    return work(link, share, partial(load, args, share), failed)


def choice_of(share: Mapping[str, Any]) -> Choice:
    """The selected backend."""
    choice = Choice(**share["choice"])
    return replace(choice, backend=BackendName(choice.backend))


def settle(share: Mapping[str, Any]) -> None:
    """Set the niceness, and leave it to the supervisor when the process stops."""
    os.nice(share["niceness"])
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def work(
    link: SchedulerLink,
    share: Mapping[str, Any],
    loads: Callable[[], LoadedBackend],
    failed: Callable[[Exception], None] = lambda _: None,
) -> int:
    """Load or take over a backend, warm it up, and compute batches. See `main` for what it returns.

    `failed` is called before the scheduler gets the error.
    """
    choice = choice_of(share)
    if share["cores"]:
        os.sched_setaffinity(0, share["cores"])  # before libraries start threads
    try:
        loaded = loads()
        backend, speed = loaded.backend, speed_of(loaded, choice.backend)
        converted = loaded.spec.converted_tokenizer
        tokenizer = str(converted) if converted is not None and converted.is_file() else None
    except Exception as error:  # noqa: BLE001 a library may raise anything; the scheduler gets the error, and the process exits
        failed(error)
        link.send(broken(choice.backend, error))
    else:
        link.send(
            Ready(
                backend.detail,
                backend.use_half_the_cores is not None,
                speed.batch_tokens,
                speed.tokens_per_second,
                backend.cosine,
                LoadedModel(choice.backend, choice.reason, tokenizer),
            )
        )
        _compute(link, choice.backend, backend, overlapped=loaded.on_gpu)
    return 1


def _fall_back(argv: Sequence[str], error: Exception, environment: Mapping[str, str]) -> NoReturn:
    """Restart this process with huggingface, which discards all state and memory of vLLM.

    File descriptors, CPU affinity and niceness stay.
    """
    words = " ".join(str(error).split())
    reason = words if isinstance(error, ModelRefused) else f"{VLLM_FAILED}: {type(error).__name__}: {words}"
    _log.warning("falling back to huggingface: %s", reason, exc_info=None if isinstance(error, ModelRefused) else error)
    choice = Choice(BackendName.HUGGINGFACE, reason)
    share = {**json.loads(argv[1]), "niceness": 0, "choice": asdict(choice)}
    os.set_inheritable(int(argv[0]), True)
    sys.stdout.flush()
    program = [*sys.orig_argv[: -len(argv)], argv[0], json.dumps(share), *argv[2:]]
    os.execve(sys.executable, program, environment)  # noqa: S606 the same program


def warm_up(backend: Backend, spec: ModelSpec, name: BackendName = BackendName.HUGGINGFACE) -> None:
    """Compute a short input and a long one. Raises ModelRefused if the result is not valid vectors."""
    longest = min(spec.max_length, LONG)
    lengths = (min(_shortest(spec), longest), longest)
    # From the middle of the vocabulary, where no padding token is: MBart fails for a text of nothing else.
    probes = [(spec.vocabulary // 2 + np.arange(length, dtype=np.int32)) % spec.vocabulary for length in lengths]
    rows = backend.embed(TokenBatch.of(probes))
    if isinstance(rows, np.ndarray) and rows.shape != (len(probes), spec.dimensions):
        raise ModelRefused(
            f"{spec.directory}: vectors have the shape {rows.shape[1:]}, but its files say {spec.dimensions}"
        )
    if not are_finite(rows).all():
        raise ModelRefused(
            f"{spec.directory} returns NaN or infinity in {spec.dtype} with {name}: {_remedy(spec, name)}"
        )


def _shortest(spec: ModelSpec) -> int:
    """One token, after those that are excluded from pooling: the maximum of no tokens is minus infinity."""
    if spec.include_prompt or not spec.prompt:
        return 1
    (prompt,) = TextTokenizer(spec).encode([""])
    return len(prompt) + 1


def _remedy(spec: ModelSpec, name: BackendName) -> str:
    """What users can do about NaN or infinity."""
    if spec.dtype is not Dtype.FLOAT32:
        return "use --dtype=float32"
    if name is BackendName.VLLM:
        return "use --backend=huggingface, or remove --backend"
    return "the weights are damaged or unusable; download the model again, or use another model"


@dataclass(frozen=True)
class Speed:
    """The measured speed of a full batch."""

    batch_tokens: int
    """Size of the largest batch that the worker should get."""
    tokens_per_second: float


def measure(backend: Backend, spec: ModelSpec, *, within: float, on_gpu: bool) -> Speed:
    """Measure a full batch, or only one text if a full batch would take longer than `within` seconds.

    On a GPU the batch is computed twice, because the first one allocates and compiles.
    If memory is too small for a full batch, the size is halved until it fits. Raises the error of `embed` for one text.
    """
    probe = np.arange(min(spec.max_length, _PROBE, backend.batch_tokens), dtype=np.int32) % spec.vocabulary
    tokens, speed = backend.batch_tokens, _speed(backend, TokenBatch.of([probe]))
    while len(probe) < tokens <= within * speed:
        try:
            full = TokenBatch.of([probe] * (tokens // len(probe)))
            return Speed(tokens, max(_speed(backend, full) for _ in range(2 if on_gpu else 1)))
        except BatchFailed as failed:
            _log.warning("a batch of %d tokens failed, trying batches of half the size: %s", tokens, failed)
            tokens //= 2
    return Speed(tokens, speed)


_PROBE = 256
"""Tokens of the text that predicts the duration of a full batch."""


def _speed(backend: Backend, batch: TokenBatch) -> float:
    begin = time.perf_counter()
    backend.embed(batch)
    return batch.tokens / (time.perf_counter() - begin)


def load(args: ServeArgs, share: Mapping[str, Any]) -> LoadedBackend:
    """Load the model with the selected backend. Raises ModelRefused, or what a library raises."""
    begin = time.monotonic()
    spec, choice = ModelSpec.from_args(args), choice_of(share)
    if (scratch := share.get("scratch")) is not None:
        spec = replace(spec, converted_tokenizer=Path(scratch, "tokenizer.json"))
    _log.info("loading %s in %s with %s: %s", spec.directory, spec.dtype, choice.backend, choice.reason)
    for assumption in spec.assumed:
        _log.warning("assumption: %s", assumption)
    if withheld := spec.token_heads.withheld:
        _log.warning("%s: it is served without these outputs", withheld)
    options = LoadOptions(args.minimum_cosine, args.allow_padded, share.get("workers_on_gpu", 1))
    backend = registry.load(choice.backend, spec, options, allow_pickle=args.allow_pickle)
    seconds = time.monotonic() - begin
    _log.info("loaded in %.1f s: %s; warming up", seconds, backend.detail)
    return LoadedBackend(spec, backend, seconds, on_gpu=share.get("gpu") is not None)


def speed_of(loaded: LoadedBackend, name: BackendName) -> Speed:
    """Warm up and measure a full batch. Raises ModelRefused."""
    begin = time.monotonic()
    warm_up(loaded.backend, loaded.spec, name)
    seconds = loaded.seconds + time.monotonic() - begin
    within = max(MEASURE_SECONDS, MEASURE_SHARE * seconds)
    return measure(loaded.backend, loaded.spec, within=within, on_gpu=loaded.on_gpu)


def broken(backend: BackendName, error: Exception) -> Broken:
    """The message about an error that ends the process; logs it, unless it is about the model."""
    if isinstance(error, ModelRefused):
        return Broken(str(error))
    _log.error("the %s backend failed", backend, exc_info=error)
    words = " ".join(str(error).split())
    return Broken(f"the {backend} backend failed: {type(error).__name__}: {words}")


def _compute(link: SchedulerLink, name: BackendName, backend: Backend, *, overlapped: bool) -> NoReturn:
    """Compute exclusive batches in this thread, and concurrent ones in two other threads."""
    concurrent: SimpleQueue[Work] = SimpleQueue()
    if (use_half_the_cores := backend.use_half_the_cores) is not None:
        for _ in range(2):
            threading.Thread(
                target=_compute_concurrent,
                args=(link, name, backend, concurrent, use_half_the_cores),
                daemon=True,
            ).start()
    with _fatal(link, name):
        if backend.launch is not None:
            compute_ahead(link.overlapped(), backend, backend.launch, link.send)
        for work in link.works(overlapped=overlapped):
            if work.exclusive:
                link.send(answer(backend, work))
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
    with _fatal(link, name):
        use_half_the_cores()
        while True:
            link.send(answer(backend, works.get()))


@contextmanager
def _fatal(link: SchedulerLink, name: BackendName) -> Iterator[None]:
    """End the process after any exception, in any thread. BatchFailed is handled before."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 a library may raise anything
        link.send_last(broken(name, error))
        os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
