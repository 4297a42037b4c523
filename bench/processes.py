"""A started process with all that it starts: its CPU time, its memory, its end."""

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
    """CPU time that the cores we are pinned to have given to anyone since boot, and what the hypervisor stole."""
    times = psutil.cpu_times(percpu=True)
    busy: float = sum(sum(times[core]) - times[core].idle - times[core].iowait for core in os.sched_getaffinity(0))
    return busy


class Tree:
    """As a context: the process runs inside, and nothing of it is left after."""

    def __init__(self, argv: Sequence[str], environment: Mapping[str, str], log: Path, *, piped: bool = False) -> None:
        """`piped` opens its stdin and stdout to us; else what it prints goes to the log."""
        self.started = time.monotonic()
        with log.open("wb") as output:
            self.process = subprocess.Popen(  # noqa: S603 the systems' own commands
                argv,
                env={**os.environ, **environment},
                stdin=subprocess.PIPE if piped else subprocess.DEVNULL,
                stdout=subprocess.PIPE if piped else output,
                stderr=output,
                start_new_session=True,  # Ctrl-C is for the harness, which stops the rest in order
            )
        self.log = log
        self._root = psutil.Process(self.process.pid)
        self._seen: dict[int, psutil.Process] = {}
        self.peak_memory = 0
        """Bytes; the greatest that `note_memory` saw."""

    def __enter__(self) -> Self:
        return self

    def pause(self) -> None:
        """It takes no CPU time until `resumed`: servers that wait for work poll, some a thousand times a second."""
        self._signal(signal.SIGSTOP)

    @contextmanager
    def resumed(self) -> Iterator[None]:
        """Goes on inside, and is paused after."""
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
        processes = self._processes()  # before the root ends, and with it the list of its children
        self._signal(signal.SIGCONT)  # a paused process does not end
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(_GRACE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        left = [each for each in processes if each.is_running()]  # what outlives the root is killed
        for each in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                each.kill()
        psutil.wait_procs(left, timeout=5)
        for stream in (self.process.stdin, self.process.stdout):
            if stream:
                stream.close()

    def last_words(self) -> str:
        """The last line of its log that says something."""
        lines = [line.strip() for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        return lines[-1][:300] if lines else "it said nothing"

    def cpu_seconds(self) -> float:
        """User and system time since the start, of all processes that live or were waited for."""
        total = 0.0
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += sum(each.cpu_times()[:4])
        return total

    def note_memory(self) -> None:
        """Of the whole tree. A file's pages count once, whoever else has them, too: another process, another system."""
        anonymous, files = 0, dict[str, int]()
        for each in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                for mapped in each.memory_maps():
                    if mapped.path.startswith("/"):
                        files[mapped.path] = max(mapped.rss, files.get(mapped.path, 0))
                    else:
                        anonymous += mapped.pss  # shared after a fork, if at all: 1/n in each of n processes
        self.peak_memory = max(self.peak_memory, anonymous + sum(files.values()))

    def wait_until_idle(self, limit: float) -> None:
        """Until it computes no more: what clients left behind would be paid for by the next ones. Up to `limit` s."""
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
