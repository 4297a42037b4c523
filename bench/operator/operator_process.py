"""The operator as a process: started from this checkout, with its CPU time and memory as the kernel counts them."""

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

from bench.operator.generator import HOME
from bench.processes import Tree
from bench.systems import ROOT

__all__ = ["Memory", "Operator", "OperatorEnded", "parse_cpu_seconds", "parse_memory"]

_TICKS = os.sysconf("SC_CLK_TCK")


class OperatorEnded(Exception):
    """The operator process ended unexpectedly; the message has the last line of its log."""


@dataclass(frozen=True)
class Memory:
    """Resident, in MiB."""

    now: float
    peak: float
    """The greatest since the start."""


def parse_cpu_seconds(stat: str) -> float:
    """User and system time of /proc/PID/stat. The command's name, in brackets, may hold spaces and brackets."""
    fields = stat.rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / _TICKS


def parse_memory(status: str) -> Memory:
    """VmRSS and VmHWM of /proc/PID/status."""
    found = dict(line.split(":", 1) for line in status.splitlines() if ":" in line)
    return Memory(*(int(found[name].split()[0]) / 1024 for name in ("VmRSS", "VmHWM")))


class Operator:
    """A context in which one operator process runs, with its own Lease."""

    def __init__(self, kubeconfig: Path, directory: Path, settings: Mapping[str, str]) -> None:
        """`settings`: environment variables without EMBEDDING_OPERATOR_, beside those that the benchmark sets."""
        given = {
            "LEASE_NAMESPACE": HOME,
            "LEASE_NAME": HOME,
            "HEALTH_PORT": str(_free_port()),
            **settings,
        }
        environment = {f"EMBEDDING_OPERATOR_{name}": value for name, value in given.items()}
        source = os.pathsep.join(str(ROOT / part) for part in ("operator/src", "runtime/src"))
        self._tree = Tree(
            (sys.executable, "-m", "embedding_operator", "run"),
            {**environment, "KUBECONFIG": str(kubeconfig), "PYTHONPATH": source},
            directory / "operator.log",
        )
        self.started = self._tree.started
        self._proc = Path(f"/proc/{self._tree.process.pid}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._tree.__exit__(kind, error, at)

    def cpu_seconds(self) -> float:
        """User and system time since the start. Raises OperatorEnded."""
        return parse_cpu_seconds(self._read("stat"))

    def waited_seconds(self) -> float:
        """Time that the event loop's thread was ready to run but had no core. Raises OperatorEnded."""
        return int(self._read("schedstat").split()[1]) / 1e9

    def memory(self) -> Memory:
        """Raises OperatorEnded."""
        return parse_memory(self._read("status"))

    def kill(self) -> None:
        """SIGKILL: the operator does not release its Lease."""
        self._tree.process.kill()
        self._tree.process.wait()

    def _read(self, name: str) -> str:
        if self._tree.process.poll() is not None:
            raise OperatorEnded(
                f"the operator ended with status {self._tree.process.returncode}: {self._tree.last_words()}"
            )
        return (self._proc / name).read_text()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port
