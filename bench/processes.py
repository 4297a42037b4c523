"""A process with its children: their CPU time, memory and end."""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

__all__ = ["Tree", "busy_seconds"]

_GRACE = 15
"""Seconds between SIGTERM and SIGKILL."""


def busy_seconds() -> float:
    """CPU time of all processes since boot on the cores of this process, including time stolen by the hypervisor."""
    times = psutil.cpu_times(percpu=True)
    busy: float = sum(sum(times[core]) - times[core].idle - times[core].iowait for core in os.sched_getaffinity(0))
    return busy


class Tree:
    """A context in which the process runs. At the end the process and all its children have ended."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path, *, piped: bool = False) -> None:
        """`piped` connects its stdin and stdout to pipes; otherwise its output goes to the log."""
        self.started = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 the systems' own commands
                argv,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,  # Ctrl-C reaches only the benchmark, which stops the others in order
            )
        self.log = log
        self._root = psutil.Process(self.process.pid)
        self._seen: dict[int, psutil.Process] = {}
        self.peak_memory = 0
        """Bytes: the maximum of all calls of `note_memory`."""

    def __enter__(self) -> Self:
        return self

    def pause(self) -> None:
        """Stops the processes until `resumed`. Idle servers poll for work, some a thousand times a second."""
        self._signal(signal.SIGSTOP)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """A context in which the processes run; they are paused at its end."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.pause()

    def _signal(self, number: signal.Signals) -> None:
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                each.send_signal(number)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        processes = self._processes()  # before the root ends, because then the list of its children is lost
        self._signal(signal.SIGCONT)  # a paused process does not end
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        left = [each for each in processes if each.is_running()]  # processes that outlive the root
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()

    def last_words(self) -> str:
        """The last line of the log that is not empty."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "its log is empty"

    def cpu_seconds(self) -> float:
        """User and system time since the start of all processes, including ended children that were waited for."""
        total = 0.0
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(each.cpu_times()[:4])
        return total

    def note_memory(self) -> None:
        """Records the memory of the whole tree. A file's pages count once, even if other processes map them too."""
        anonymous, files = 0, dict[str, int]()
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                for mapped in each.memory_maps():
                    if mapped.path.startswith("/"):
                        files[mapped.path] = max(mapped.rss, files.get(mapped.path, 0))
                    else:
                        anonymous += mapped.pss  # pages shared after a fork count 1/n in each of n processes
        self.peak_memory = max(self.peak_memory, anonymous + sum(files.values()))

    def wait_until_idle(self, limit: float) -> None:
        """Waits up to `limit` seconds until the processes are idle, so that the next cell starts without old work."""
        end = time.monotonic() + limit
        while time.monotonic() < end:
            before, begin = self.cpu_seconds(), time.monotonic()
            time.sleep(0.3)
            if self.cpu_seconds() - before < 0.2 * (time.monotonic() - begin):
                return

    def _processes(self) -> list[psutil.Process]:
        with contextlib.suppress(psutil.NoSuchProcess):
            for each in (self._root, *self._root.children(recursive=True)):
                self._seen.setdefault(each.pid, each)
        return [each for each in self._seen.values() if each.is_running()]
