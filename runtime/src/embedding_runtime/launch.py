"""The worker's process as the front sees it: a socket to talk through, and how it ended."""

import os
import socket
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass

from embedding_runtime.contract import ServeArgs

__all__ = ["WorkerProcess", "keeping_memory", "start_worker"]


_PYTHON = (sys.executable, "-W", "ignore::FutureWarning")  # words between libraries, not for who reads our log

_KEEPS_MEMORY: Mapping[str, str] = {
    "MALLOC_MMAP_THRESHOLD_": str(64 << 20),
    "MALLOC_TRIM_THRESHOLD_": str(128 << 20),
}
"""What glibc reads when a process starts, in bytes. By itself it gives a batch's memory back to the system at its end.

Every page then comes anew, and zeroed: a tenth of two cores' time with two batches at once.
"""


@dataclass(frozen=True)
class WorkerProcess:
    """A started worker and the front's end of the socketpair between the two."""

    link: socket.socket
    process: subprocess.Popen[bytes]

    def stop(self) -> int:
        """Closes the link, at which the worker ends by itself. Its exit code; for a signal, 128 and its number.

        A worker that has not ended after five seconds is killed, and counts as 1.
        """
        self.link.close()
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            return 1
        return 128 - code if code < 0 else code


def keeping_memory() -> dict[str, str]:
    """The environment for a process that keeps the memory of a batch for the next: ours, and what ours has not set."""
    return {**_KEEPS_MEMORY, **os.environ}


def start_worker(args: ServeArgs) -> WorkerProcess:
    """Returns at once; the worker says `Ready` or `Broken` when it knows."""
    ours, theirs = socket.socketpair()
    with theirs:
        process = subprocess.Popen(  # noqa: S603 our own interpreter and module
            [*_PYTHON, "-m", "embedding_runtime.worker.main", str(theirs.fileno()), *args.to_argv()],
            env=keeping_memory(),
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=sys.stderr.fileno(),  # libraries print; the front's stdout is not theirs
            # Ctrl-C is for the front, which lets requests finish. Not a session of its own: Linux would weigh the two
            # sessions alike (sched_autogroup), whatever the worker's niceness, and the front would wait for a core.
            process_group=0,
        )
    return WorkerProcess(ours, process)
