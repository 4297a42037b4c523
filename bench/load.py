"""The clients: wrk with load.lua, which reports every answer, and the evaluation of its report."""

import math
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.processes import Tree, busy_seconds
from bench.results import Measured, percentile
from bench.workloads import Cell

__all__ = ["Answer", "BadAnswers", "Clients", "Meanwhile", "Window", "measured", "read_report", "under_load"]

Meanwhile = Callable[[float], None]
"""Called while the clients run; it takes the number of seconds to spend."""

_SCRIPT = Path(__file__).with_name("load.lua")

_ERRORS = ("connect", "read", "write", "timeout")
"""The errors that wrk counts, in the order in which load.lua prints them."""


class BadAnswers(Exception):
    """A system gave answers other than 200 or dropped connections, so its figures would be meaningless."""


@dataclass(frozen=True)
class Answer:
    """One request: its start and end (seconds of time.monotonic), and the number of its body."""

    begun: float
    ended: float
    body: int


@dataclass(frozen=True)
class Window:
    """The measured time, from `begin` to `end` in seconds of time.monotonic.

    Within it the system used `cpu_seconds` of CPU time, and other processes on the same cores used `others`.
    """

    begin: float
    end: float
    cpu_seconds: float
    others: float


@dataclass(frozen=True)
class Clients:
    """Where the clients send which bodies, and the seconds of load before the window."""

    url: str
    bodies: Path
    """One body per line."""
    warm_up: float


def read_report(report: str) -> list[Answer]:
    """The answers in a report. Raises BadAnswers, with counts, if an answer was not 200 or a connection failed."""
    answers: list[Answer] = []
    bad: Counter[str] = Counter()
    complete = False
    for kind, *fields in map(str.split, filter(None, report.splitlines())):
        if kind == "answer":
            begun, ended, status, body = fields
            answers.append(Answer(float(begun), float(ended), int(body)))
            bad[f"status {status}"] += status != "200"
        elif kind == "errors":
            complete = True
            bad.update({f"{name} error": int(count) for name, count in zip(_ERRORS, fields, strict=True)})
    if not complete:
        raise BadAnswers(f"wrk's report is cut off: {report.strip()[-300:]}")
    if bad.total():
        raise BadAnswers(f"of {len(answers)} answers: " + ", ".join(f"{n} x {what}" for what, n in bad.items() if n))
    return answers


def measured(cell: Cell, answers: Sequence[Answer], window: Window, body_tokens: Sequence[int]) -> Measured:
    """The figures of the answers that ended within the window. Every body has `cell.batch` texts."""
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
        others=window.others,
    )


@contextmanager
def _wrk(clients: Clients, count: int, seconds: float) -> Iterator[subprocess.Popen[str]]:
    """A context in which wrk runs. wrk ends after `seconds`, rounded up, or when the context ends."""
    argv = ["wrk", f"-t{count}", f"-c{count}", f"-d{math.ceil(seconds)}s", "--timeout", "300s"]
    argv += ["-s", str(_SCRIPT), clients.url, "--", str(clients.bodies), str(count)]
    with subprocess.Popen(  # noqa: S603 a fixed command
        argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def under_load(
    clients: Clients, cell: Cell, seconds: float, tree: Tree, meanwhile: Meanwhile = time.sleep
) -> tuple[list[Answer], Window]:
    """Runs the clients; returns all answers and the window. After the window it records the memory of `tree`.

    Raises BadAnswers.
    """
    with _wrk(clients, cell.clients, clients.warm_up + seconds + 0.2) as wrk:
        time.sleep(clients.warm_up)
        begin, before, all_before = time.monotonic(), tree.cpu_seconds(), busy_seconds()
        meanwhile(seconds)
        end, after, all_after = time.monotonic(), tree.cpu_seconds(), busy_seconds()
        tree.note_memory()  # the clients still run; this takes a tenth of a second outside the window
        report, _ = wrk.communicate()
    return read_report(report), Window(begin, end, after - before, (all_after - all_before) - (after - before))
