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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from typing import Any, NoReturn

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.model import ModelRefused
from embedding_runtime.observability import logs
from embedding_runtime.protocol.messages import VLLM_FAILED, LoadedModel, Ready
from embedding_runtime.worker.backends.choice import Choice
from embedding_runtime.worker.computing import compute
from embedding_runtime.worker.fatal import broken
from embedding_runtime.worker.io import SchedulerLink
from embedding_runtime.worker.loaded_backend import LoadedBackend, choice_of, load
from embedding_runtime.worker.warm_up import speed_of

__all__ = ["main", "settle", "work"]

_log = logging.getLogger("embedding_runtime.worker.main")


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
        compute(link, choice.backend, backend, overlapped=loaded.on_gpu)
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


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
