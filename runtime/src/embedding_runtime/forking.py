"""The supervisor's side of the loader: a process that loads the model once and forks workers that share its memory.

See `worker.loader` for the other side.
"""

import contextlib
import json
import math
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Mapping
from itertools import count
from typing import Any

__all__ = ["ForkedWorker", "Loader"]

POLL_SECONDS = 0.01
"""Interval in which a worker's exit is checked. Nothing waits for it but a restart or the server's own exit."""


class Loader:
    """A running loader. This process must adopt orphans: the workers become its children."""

    def __init__(self, control: socket.socket, process: subprocess.Popen[bytes]) -> None:
        """`control`: our end of a pair of SOCK_SEQPACKET sockets."""
        self._control, self.process = control, process
        self._numbers = count()
        self._lock = threading.Lock()
        self._pids: dict[int, int] = {}
        self._is_complete = False

    def fork(self, share: Mapping[str, Any], link: socket.socket) -> "ForkedWorker":
        """Request a worker with this end of its link. It starts once the model is loaded.

        If the loader exits before, the link is closed.
        """
        number = next(self._numbers)
        request = json.dumps({**share, "number": number}).encode()
        with contextlib.suppress(BrokenPipeError):  # the worker then counts as ended
            socket.send_fds(self._control, [request], [link.fileno()])
        return ForkedWorker(self, number)

    def pid_of(self, number: int) -> int | None:
        """The process id of a requested worker; None: not forked (yet)."""
        with self._lock:
            self._receive()
            return self._pids.get(number)

    @property
    def is_complete(self) -> bool:
        """Whether the loader has ended, and a worker without a process id was never forked."""
        with self._lock:
            self._receive()
            return self._is_complete

    def stop(self) -> None:
        """Kill the loader, which has nothing to finish. Its workers go on."""
        self.process.kill()
        self.process.wait()
        with self._lock:
            self._receive()

    def _receive(self) -> None:
        """Read the answers so far. The last process that could send one, which a killed loader leaves, closes it."""
        with contextlib.suppress(BlockingIOError):  # no more answers yet
            while not self._is_complete:
                try:
                    answer = self._control.recv(1 << 10, socket.MSG_DONTWAIT)
                except ConnectionResetError:  # once, before the last answers, if requests are left unread
                    continue
                if answer:
                    forked = json.loads(answer)
                    self._pids[forked["number"]] = forked["pid"]
                else:
                    self._is_complete = True
                    self._control.close()


class ForkedWorker:
    """A worker process that a loader has forked or will fork, with the interface of Popen that `ChildProcess` uses."""

    def __init__(self, loader: Loader, number: int) -> None:
        self._loader, self._number = loader, number
        self._code: int | None = None

    @property
    def pid(self) -> int | None:
        """None: not forked (yet)."""
        return self._loader.pid_of(self._number)

    def wait(self, timeout: float = math.inf) -> int:
        """Wait for the exit, and return the code as Popen does. A worker that was never forked ends with its loader.

        Raises subprocess.TimeoutExpired.
        """
        deadline = time.monotonic() + timeout
        while self._code is None:
            self._code = self._poll()
            if self._code is None:
                if time.monotonic() > deadline:
                    raise subprocess.TimeoutExpired("worker", timeout)
                time.sleep(POLL_SECONDS)
        return self._code

    def kill(self) -> None:
        """Kill it, if it was forked."""
        if self._code is None and (pid := self.pid) is not None:
            os.kill(pid, signal.SIGKILL)

    def _poll(self) -> int | None:
        is_complete = self._loader.is_complete  # before it is asked for its last answers
        if (pid := self.pid) is None:
            return self._loader.process.poll() if is_complete else None
        ended, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if ended else None
