"""The clients: wrk with load.lua, which reports every answer; and what its report says of a window of time."""

import math
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.results import Measured, percentile
from bench.workloads import Cell

__all__ = ["Answer", "BadAnswers", "Meanwhile", "Window", "measured", "read_report", "under_load"]

Meanwhile = Callable[[float], None]
"""What is done while the clients run, for as many seconds as it is told."""

_SCRIPT = Path(__file__).with_name("load.lua")


class BadAnswers(Exception):
    """A system answered with something else than 200, or dropped connections: its figures would mean nothing."""


@dataclass(frozen=True)
class Answer:
    """One request: when it began and ended (seconds of time.monotonic), and which body it had."""

    begun: float
    ended: float
    body: int


@dataclass(frozen=True)
class Window:
    """What is measured: from `begin` to `end` (seconds of time.monotonic), with the CPU time that passed within."""

    begin: float
    end: float
    cpu_seconds: float


def read_report(report: str) -> list[Answer]:
    """The answers in it. Raises BadAnswers, with counts by status, where one was not 200 or a connection failed."""
    answers, bad = [], dict[str, int]()
    for kind, *fields in map(str.split, filter(None, report.splitlines())):
        if kind == "answer":
            begun, ended, status, body = fields
            answers.append(Answer(float(begun), float(ended), int(body)))
            if status != "200":
                bad[status] = bad.get(status, 0) + 1
        elif kind == "errors":
            bad |= {
                name: int(n)
                for name, n in zip(("connect", "read", "write", "timeout"), fields, strict=True)
                if n != "0"
            }
    if bad:
        raise BadAnswers(f"of {len(answers)} answers: " + ", ".join(f"{n} x {what}" for what, n in bad.items()))
    return answers


def measured(cell: Cell, answers: Sequence[Answer], window: Window, body_tokens: Sequence[int]) -> Measured:
    """The answers that ended within the window. Every body has `cell.batch` texts."""
    inside = [answer for answer in answers if window.begin <= answer.ended < window.end]
    seconds = [answer.ended - answer.begun for answer in inside]
    enough = len(inside) >= 2 * cell.clients
    return Measured(
        workload=cell.workload,
        batch=cell.batch,
        clients=cell.clients,
        seconds=window.end - window.begin,
        requests=len(inside),
        texts=len(inside) * cell.batch,
        tokens=sum(body_tokens[answer.body] for answer in inside),
        p50=percentile(seconds, 0.5) if enough else None,
        p99=percentile(seconds, 0.99) if enough else None,
        cpu_seconds=window.cpu_seconds,
    )


@contextmanager
def _wrk(url: str, bodies: Path, clients: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """Stops by itself after the seconds, rounded up; at once where its context is left before."""
    argv = ["wrk", f"-t{clients}", f"-c{clients}", f"-d{math.ceil(seconds)}s", "--timeout", "300s"]
    argv += ["-s", str(_SCRIPT), url, "--", str(bodies), str(clients)]
    process = subprocess.Popen(
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )  # noqa: S603
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def under_load(
    url: str,
    bodies: Path,
    cell: Cell,
    warm_up: float,
    seconds: float,
    cpu_seconds: Callable[[], float],
    meanwhile: Meanwhile = time.sleep,
) -> tuple[list[Answer], Window]:
    """All answers of one run of the clients, and the window in it.

    Raises BadAnswers.
    """
    with _wrk(url, bodies, cell.clients, warm_up + seconds + 0.2) as wrk:
        time.sleep(warm_up)
        begin, before = time.monotonic(), cpu_seconds()
        meanwhile(seconds)
        end, after = time.monotonic(), cpu_seconds()
        report, _ = wrk.communicate()
    if wrk.returncode != 0:
        raise BadAnswers(f"wrk ended with {wrk.returncode}: {report.strip()[-300:]}")
    return read_report(report), Window(begin, end, after - before)
