"""Loads a model once, and forks workers, which share its memory and that of the libraries.

`launch` starts it as `python -m embedding_runtime.worker.loader FD SHARE FLAGS`, as it starts a worker, but FD is one
of a pair of SOCK_SEQPACKET sockets. Each message from the supervisor requests a worker: its number and its share of the
machine as JSON, and the file descriptor of its end of a link to the scheduler. The answer has its process id. Workers
become children of the supervisor, which waits for them, and do not need the loader any more. All of them exit with the
supervisor, which reads answers until every process that could send one has closed the socket.

A process can be forked safely only while it has one thread, because the copy lacks the others. So libraries compute
with one thread here, and each worker sets its own number. If loading leaves threads behind, the loader starts over
without loading, and each worker loads the model itself.
"""

import contextlib
import gc
import json
import logging
import os
import select
import socket
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from embedding_runtime.contract import ServeArgs
from embedding_runtime.machine import WorkerShare
from embedding_runtime.observability import logs
from embedding_runtime.prctl import end_with_parent
from embedding_runtime.worker.fatal import broken
from embedding_runtime.worker.io import SchedulerLink
from embedding_runtime.worker.loaded_backend import LoadedBackend, choice_of, load
from embedding_runtime.worker.main import settle, work

__all__ = ["main"]

_log = logging.getLogger(__name__)

ADOPTION_SECONDS = 0.001
"""Interval in which a new worker checks that the supervisor has adopted it."""

ENDING_SECONDS = 1
"""Time for threads that a library has told to end."""


def main(argv: Sequence[str]) -> int:
    """Run until the supervisor closes the socket. Exit code 1: the model cannot be served."""
    end_with_parent()
    control = socket.socket(fileno=int(argv[0]))
    if _is_closed(control):  # the supervisor exited first, so nothing would use the model
        return 0
    share: Mapping[str, Any] = json.loads(argv[1])
    args = ServeArgs.from_argv(argv[2:])
    logs.configure(args.log_format, sees_texts=False)
    settle(share)
    loads: Callable[[], LoadedBackend] = partial(load, args, share)
    if not share.get("separately"):
        try:
            loaded = loads()
        except Exception as error:  # noqa: BLE001 a library may raise anything; the scheduler gets the error
            message = broken(choice_of(share).backend, error)
            with contextlib.suppress(BlockingIOError):  # no more requests
                for _, link in _requests(control, socket.MSG_DONTWAIT):
                    SchedulerLink(link).send(message)
            return 1
        if (threads := _other_threads()) > 0:
            _start_over(argv, threads)
        loads = lambda: loaded  # noqa: E731 the same for every worker
        gc.collect()
        gc.freeze()  # collections in workers would write to, and so copy, the memory of every object
    for request, link in _requests(control):
        with link:
            _fork(partial(_work, control, link, {**share, **request}, loads), partial(_report, control, request))
    return 0


def _is_closed(control: socket.socket) -> bool:
    """Whether the supervisor has exited."""
    gone = select.poll()
    gone.register(control, select.POLLHUP)
    return bool(gone.poll(0))


def _requests(control: socket.socket, flags: int = 0) -> Iterator[tuple[Mapping[str, Any], socket.socket]]:
    """Receive requests until the supervisor exits. Raises BlockingIOError with MSG_DONTWAIT."""
    while True:
        request, descriptors, _, _ = socket.recv_fds(control, 1 << 16, 1, flags)
        if not request:
            return
        yield json.loads(request), socket.socket(fileno=descriptors[0])


def _other_threads() -> int:
    """The number of threads besides this one, of Python or of a native library, after those that end have ended."""
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(ENDING_SECONDS)
    return len(list(Path("/proc/self/task").iterdir())) - 1


def _start_over(argv: Sequence[str], threads: int) -> NoReturn:
    """Restart this process without loading, which also frees the model. Requests wait in the socket."""
    _log.warning(
        "the workers do not share the model's memory, and each loads it again: loading left %d threads behind, and a "
        "process with threads cannot be copied",
        threads,
    )
    share = {**json.loads(argv[1]), "niceness": 0, "separately": True}
    os.set_inheritable(int(argv[0]), True)
    sys.stdout.flush()
    os.execv(sys.executable, [*sys.orig_argv[: -len(argv)], argv[0], json.dumps(share), *argv[2:]])  # noqa: S606 as before


def _report(control: socket.socket, request: Mapping[str, Any], pid: int) -> None:
    """Tell the supervisor the process id of a requested worker."""
    with contextlib.suppress(BrokenPipeError):  # it has exited, and the worker ends with it
        control.send(json.dumps({"number": request["number"], "pid": pid}).encode())


def _fork(run: Callable[[], object], report: Callable[[int], None]) -> None:
    """Run a function in a new process, which ends with the supervisor.

    It is forked by a process in between, which reports its id and exits, so that the supervisor adopts it, and knows it
    even if this process is killed meanwhile. Raises ChildProcessError.
    """
    between = os.fork()
    if between == 0:
        with _exiting():
            parent = os.getpid()
            pid = os.fork()
            if pid == 0:
                with _exiting():
                    while os.getppid() == parent:
                        time.sleep(ADOPTION_SECONDS)
                    end_with_parent()
                    run()
            report(pid)
    _, status = os.waitpid(between, 0)
    if status != 0:
        raise ChildProcessError(f"cannot fork a worker: {os.waitstatus_to_exitcode(status)}")


@contextlib.contextmanager
def _exiting() -> Iterator[None]:
    """Exit after the block, instead of going on as a second loader."""
    code = 1
    try:
        yield
        code = 0
    except Exception:  # noqa: BLE001 of os.fork, or a library's; the process exits
        _log.exception("cannot fork a worker")
    finally:
        os._exit(code)


def _work(
    control: socket.socket, link: socket.socket, share: Mapping[str, Any], loads: Callable[[], LoadedBackend]
) -> None:
    """Be a worker."""
    control.close()
    os.setpgid(0, 0)  # like a process that the supervisor starts
    os.environ.update(WorkerShare(share["threads"]).environment)  # for libraries that read it from now on
    if "torch" in sys.modules:
        import torch  # noqa: PLC0415 takes seconds, loaded by the backend

        torch.set_num_threads(share["threads"])  # also of OpenMP, MKL and oneDNN
    os._exit(work(SchedulerLink(link), share, loads))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
