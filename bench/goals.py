"""The goals on CPUs. Each is a figure of one round; its median over the rounds decides whether the goal is met."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Measured, Round, Run
from bench.workloads import Cell

__all__ = ["GOALS", "Goal", "Verdict", "judge"]


@dataclass(frozen=True)
class Goal:
    """`find` returns the figure of a round, or None if the round did not measure the cells that it needs."""

    title: str
    target: float
    find: Callable[[Round], float | None]
    unit: str = "x"
    at_least: bool = True


@dataclass(frozen=True)
class Verdict:
    """`found` is the median of the rounds. `met` is None if no round has a figure."""

    goal: Goal
    found: float | None
    low: float | None
    high: float | None
    """`low` and `high` are the lowest and the highest round."""

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found >= self.goal.target if self.goal.at_least else self.found <= self.goal.target


def judge(run: Run) -> list[Verdict]:
    """One verdict for each goal, in the order of GOALS."""
    return [_judged(goal, run) for goal in GOALS]


def _judged(goal: Goal, run: Run) -> Verdict:
    found = [value for each in run.rounds if (value := goal.find(each)) is not None]
    if not found:
        return Verdict(goal, None, None, None)
    return Verdict(goal, statistics.median(found), min(found), max(found))


def _of(seen: Round, system: str, cell: Cell, value: Callable[[Measured], float | None]) -> float | None:
    """A figure of one cell; None if the cell was not measured."""
    found = seen.systems[system].find(cell) if system in seen.systems else None
    return None if found is None else value(found)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs


def _speed(system: str, other: str, workload: str, target: float) -> Goal:
    """Compares tokens/s. Unlike texts/s, they do not depend on whether a system happened to get the shorter texts."""
    ours = Cell(workload, 1, 64)
    theirs = Cell(workload, 32, 1) if other == "encode" else ours

    def find(seen: Round) -> float | None:
        return _ratio(
            _of(seen, system, ours, lambda each: each.tokens_per_second),
            _of(seen, other, theirs, lambda each: each.tokens_per_second),
        )

    what = "encode (in process, batches of 32)" if other == "encode" else other
    return Goal(f"{system}, {workload}, 64 clients: speed relative to {what}", target, find)


def _latency(system: str, other: str, target: float) -> Goal:
    cell = Cell("short", 1, 1)

    def find(seen: Round) -> float | None:
        return _ratio(_of(seen, system, cell, lambda each: each.p50), _of(seen, other, cell, lambda each: each.p50))

    return Goal(f"{system}, short, 1 client: p50 relative to {other}", target, find, at_least=False)


def _bound(system: str, workload: str, target: float) -> Goal:
    cell = Cell(workload, 32, 8)

    def find(seen: Round) -> float | None:
        return _of(seen, system, cell, seen.share)

    return Goal(f"{system}, {workload}, 32 texts per request, 8 clients: share of the bound", target, find, unit="")


def _ready(system: str, target: float) -> Goal:
    def find(seen: Round) -> float | None:
        return seen.systems[system].ready if system in seen.systems else None

    return Goal(f"{system}: start", target, find, unit="s", at_least=False)


def _health(system: str) -> Goal:
    def find(seen: Round) -> float | None:
        health = seen.systems[system].health if system in seen.systems else ()
        return max((1000 * each.p99 for each in health), default=None)

    return Goal(f"{system}: p99 of /healthz under 64 clients", 20, find, unit="ms", at_least=False)


GOALS = (
    _speed("huggingface", "encode", "short", 1.0),
    _speed("huggingface", "encode", "mixed", 1.2),
    _speed("huggingface", "infinity", "short", 1.6),
    _speed("huggingface", "infinity", "mixed", 3.5),
    _speed("huggingface", "vllm-server", "short", 1.4),
    _speed("huggingface", "vllm-server", "mixed", 1.5),
    _latency("huggingface", "encode", 0.65),
    _bound("huggingface", "short", 0.8),
    _bound("huggingface", "mixed", 0.8),
    _speed("vllm", "vllm-server", "short", 1.3),
    _speed("vllm", "vllm-server", "mixed", 1.3),
    _latency("vllm", "vllm-server", 0.8),
    _ready("huggingface", 10),
    _ready("vllm", 60),
    _health("huggingface"),
    _health("vllm"),
)
