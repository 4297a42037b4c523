"""Starts the server's child processes, with a socketpair to each, and reports how they ended."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from embedding_runtime.contract import KILLED, ServeArgs
from embedding_runtime.forking import ForkedWorker, Loader
from embedding_runtime.machine import Layout, Machine, WorkerShare
from embedding_runtime.prctl import adopt_orphans

__all__ = ["ChildProcess", "WorkerProcesses", "keeping_memory", "start_frontend", "weights_bytes"]

_log = logging.getLogger(__name__)

_PYTHON = (sys.executable, "-W", "ignore::FutureWarning")  # warnings of one library about another are not for our log

_KEEPS_MEMORY: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
"""glibc's thresholds in bytes, which it reads at the start of a process.

With its defaults it returns a batch's memory to the system. Zeroing the new pages of the next batch takes a tenth of
the time of two cores with two concurrent batches.
"""


NICENESS = 10
"""Niceness of a worker in a container. On a busy core the frontend then runs first: it needs little time, and probes
must not wait for a batch. Outside of a container the worker would starve next to other processes."""


@dataclass(frozen=True)
class ChildProcess:
    """A started process, and its parent's end of their socketpair."""

    link: socket.socket
    process: "subprocess.Popen[bytes] | ForkedWorker"

    def stop(self) -> int:
        """Close the link, which makes the process exit, and return its exit code (128 + number for a signal).

        A process that does not exit within five seconds is killed, with the exit code 1.
        """
        self.link.close()
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 1
        return _exit_code(code)


class WorkerProcesses:
    """The workers of a server, by number. Implements `Workers`."""

    def __init__(self, args: ServeArgs, common: Mapping[str, Any], layout: Layout, machine: Machine) -> None:
        """Start all workers. Each sends `Ready` or `Broken` later. `common`: added to every worker's share."""
        self._args, self._layout = args, layout
        self._common = {**common, "niceness": NICENESS if machine.is_contained else 0}
        self._loader: Loader | None = None
        if layout.forks:
            adopt_orphans()
        self._unclaimed = {number: self._start(number) for number in range(self.count)}
        self._running = dict(self._unclaimed)

    @property
    def count(self) -> int:
        """The number of workers."""
        return len(self._layout.workers)

    @property
    def pids(self) -> Sequence[int]:
        """Process ids of the running workers."""
        return [pid for child in self._running.values() if (pid := child.process.pid) is not None]

    def start(self, number: int) -> socket.socket:
        """Return our end of the socket to the worker; restart the worker if it was lost."""
        child = self._unclaimed.pop(number, None) or self._start(number)
        self._running[number] = child
        return child.link

    async def ended(self, number: int) -> tuple[str, int]:
        """Wait for the process to exit, and kill it after five seconds. See `Workers`."""
        code = 1
        child = self._running.get(number)
        if child is not None:
            code = await asyncio.to_thread(child.stop)
            self._running.pop(number, None)
        return f"the worker ended unexpectedly: {_how(code)}", KILLED if code == KILLED else 1

    def stop(self) -> None:
        """Stop all workers."""
        if self._loader is not None:
            self._loader.stop()
        for child in self._running.values():
            child.link.close()
        for child in self._running.values():
            child.stop()
        self._running.clear()

    def _start(self, number: int) -> ChildProcess:
        share = self._layout.workers[number]
        if not self._layout.forks:
            return ChildProcess(*self._start_process("worker.main", share))
        if self._loader is not None and (code := self._loader.process.poll()) is not None:
            how = _how(_exit_code(code))
            _log.warning("loading the model again: the process that had loaded it ended unexpectedly: %s", how)
            self._loader.stop()
            self._loader = None
        if self._loader is None:  # on one core, because it can only be forked while it has one thread
            self._loader = Loader(*self._start_process("worker.loader", WorkerShare(1), socket.SOCK_SEQPACKET))
        ours, theirs = socket.socketpair()
        with theirs:
            return ChildProcess(ours, self._loader.fork(asdict(share), theirs))

    def _start_process(
        self, module: str, share: WorkerShare, kind: socket.SocketKind = socket.SOCK_STREAM
    ) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
        given = json.dumps({**asdict(share), **self._common})
        environment = {**keeping_memory(), **share.environment}
        return _start(module, [], [given, *self._args.to_argv()], environment, kind)


def _how(code: int) -> str:
    return "killed, most likely out of memory" if code == KILLED else f"exit code {code}"


def _exit_code(code: int) -> int:
    """The exit code as shells report it: 128 + the number of a signal, for which Popen has the negative number."""
    return 128 - code if code < 0 else code


def keeping_memory() -> dict[str, str]:
    """Our environment, plus the variables that make a process keep its memory between batches, unless they are set."""
    return {**_KEEPS_MEMORY, **os.environ}


def start_frontend(args: ServeArgs, connections: socket.socket, share: Mapping[str, int]) -> ChildProcess:
    """Start one of several frontends. `share`: see `frontend.main`.

    It receives accepted connections over `connections`, its end of a socketpair.
    """
    argv = [str(connections.fileno()), json.dumps(share), *args.to_argv()]
    return ChildProcess(*_start("frontend.main", [connections], argv, dict(os.environ)))


def weights_bytes(directory: Path) -> int:
    """The size of a model's weights, in bytes."""
    files = [path for kind in ("*.safetensors", "*.bin") for path in directory.glob(kind)]
    return sum(path.stat().st_size for path in files)


def _start(
    module: str,
    passed: Sequence[socket.socket],
    argv: Sequence[str],
    environment: Mapping[str, str],
    kind: socket.SocketKind = socket.SOCK_STREAM,
) -> tuple[socket.socket, "subprocess.Popen[bytes]"]:
    """Start a module with the file descriptor of its end of a socketpair and `argv` as arguments. Does not wait."""
    ours, theirs = socket.socketpair(type=kind)
    with theirs:
        process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [*_PYTHON, "-m", f"embedding_runtime.{module}", str(theirs.fileno()), *argv],
            env=environment,
            pass_fds=[theirs.fileno(), *(each.fileno() for each in passed)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # libraries print to stdout, which belongs to the parent
            # Ctrl-C goes to the parent only, which finishes requests. A separate session would do that, too, but Linux
            # gives sessions equal shares (sched_autogroup), so that the worker's niceness would have no effect.
            process_group=0,
        )
    return ours, process
