"""The server's other processes as their parent sees them: a socket to talk through, and how they ended."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from embedding_runtime.contract import KILLED, ServeArgs
from embedding_runtime.machine import Machine, WorkerShare

__all__ = ["ChildProcess", "WorkerProcesses", "keeping_memory", "start_frontend", "weights_bytes"]

_PYTHON = (sys.executable, "-W", "ignore::FutureWarning")  # words between libraries, not for readers of our log

_KEEPS_MEMORY: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
"""What glibc reads when a process starts, in bytes. By itself it gives a batch's memory back to the system at its end.

Every page then comes anew, and zeroed: a tenth of two cores' time with two batches at once.
"""


NICENESS = 10
"""Of a worker in a container: the frontend comes first on a busy core. It needs little, and health must not wait behind
a batch. Outside of a container the worker would starve beside the processes of others."""


@dataclass(frozen=True)
class ChildProcess:
    """A started process, and its parent's end of the socketpair between the two."""

    link: socket.socket
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Close the link, at which the process ends by itself. Its exit code; for a signal, 128 and its number.

        One that has not ended after five seconds is killed, and counts as 1.
        """
        self.link.close()
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 1
        return 128 - code if code < 0 else code


class WorkerProcesses:
    """The workers of a server, by number. As `Engine` wants them."""

    def __init__(self, args: ServeArgs, shares: Sequence[WorkerShare], machine: Machine) -> None:
        """Starts all of them; each says `Ready` or `Broken` when it knows."""
        self._args, self._shares = args, shares
        self._niceness = NICENESS if machine.is_contained else 0
        self._unclaimed = {number: self._start(number) for number in range(len(shares))}
        self._running = dict(self._unclaimed)

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self._shares)

    @property
    def pids(self) -> Sequence[int]:
        """Of those that run."""
        return [child.process.pid for child in self._running.values()]

    def start(self, number: int) -> socket.socket:
        """Our end of the socket to the worker, which is started again where it has been lost."""
        child = self._unclaimed.pop(number, None) or self._start(number)
        self._running[number] = child
        return child.link

    async def ended(self, number: int) -> tuple[str, int]:
        """Wait until the process is gone, which is killed after five seconds. As `Workers` has it."""
        code = 1
        child = self._running.get(number)
        if child is not None:
            code = await asyncio.to_thread(child.stop)
            self._running.pop(number, None)
        how = "killed, most often for memory" if code == KILLED else f"exit code {code}"
        return f"the worker ended unexpectedly: {how}", KILLED if code == KILLED else 1

    def stop(self) -> None:
        """End all of them."""
        for child in self._running.values():
            child.link.close()
        for child in self._running.values():
            child.stop()
        self._running.clear()

    def _start(self, number: int) -> ChildProcess:
        share = self._shares[number]
        environment = {**keeping_memory(), **share.environment}
        given = json.dumps({**asdict(share), "niceness": self._niceness})
        return _start("embedding_runtime.worker.main", [], [given, *self._args.to_argv()], environment)


def keeping_memory() -> dict[str, str]:
    """The environment for a process that keeps the memory of a batch for the next: ours, and what ours has not set."""
    return {**_KEEPS_MEMORY, **os.environ}


def start_frontend(args: ServeArgs, connections: socket.socket, share: Mapping[str, int]) -> ChildProcess:
    """Start one of several frontends; `share` as `frontend.main` takes it.

    It gets accepted connections over `connections`, its end of a socketpair.
    """
    argv = [str(connections.fileno()), json.dumps(share), *args.to_argv()]
    return _start("embedding_runtime.frontend.main", [connections], argv, dict(os.environ))


def weights_bytes(directory: Path) -> int:
    """The size of a model's weights."""
    files = [path for kind in ("*.safetensors", "*.bin") for path in directory.glob(kind)]
    return sum(path.stat().st_size for path in files)


def _start(
    module: str, passed: Sequence[socket.socket], argv: Sequence[str], environment: Mapping[str, str]
) -> ChildProcess:
    """Returns at once. The module is called with its end of a socketpair as a file descriptor, then `argv`."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [*_PYTHON, "-m", module, str(theirs.fileno()), *argv],
            env=environment,
            pass_fds=[theirs.fileno(), *(each.fileno() for each in passed)],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # libraries print; the parent's stdout is not theirs
            # Ctrl-C is for the parent, which lets requests finish. Not a session of its own: Linux would weigh the two
            # sessions alike (sched_autogroup), whatever the worker's niceness, and the frontend would wait for a core.
            process_group=0,
        )
    return ChildProcess(ours, process)
