"""What has to be reached: each a figure of one round, judged by its median over the rounds."""

import statistics
from collections.abc import Callable
from dataclasses import dataclass

from bench.results import Measured, Round, Run
from bench.workloads import Cell

__all__ = ["GOALS", "Goal", "Verdict", "judge"]


@dataclass(frozen=True)
class Goal:
    """`find` gives a round's figure, None where the round has not measured what it takes."""

    words: str
    demanded: float
    find: Callable[[Round], float | None]
    unit: str = "x"
    at_least: bool = True


@dataclass(frozen=True)
class Verdict:
    """`found` is the median; `met` is None where nothing was found."""

    goal: Goal
    found: float | None
    low: float | None
    high: float | None
    """The least and the greatest round."""

    @property
    def met(self) -> bool | None:
        if self.found is None:
            return None
        return self.found >= self.goal.demanded if self.goal.at_least else self.found <= self.goal.demanded


def judge(run: Run) -> list[Verdict]:
    """One verdict a goal, in the order of GOALS."""
    return [_judged(goal, run) for goal in GOALS]


def _judged(goal: Goal, run: Run) -> Verdict:
    found = [value for each in run.rounds if (value := goal.find(each)) is not None]
    if not found:
        return Verdict(goal, None, None, None)
    return Verdict(goal, statistics.median(found), min(found), max(found))


def _of(seen: Round, system: str, cell: Cell, value: Callable[[Measured], float | None]) -> float | None:
    """A figure of one cell; None where it was not measured."""
    found = seen.systems[system].find(cell) if system in seen.systems else None
    return None if found is None else value(found)


def _ratio(ours: float | None, theirs: float | None) -> float | None:
    return None if ours is None or theirs is None else ours / theirs


def _speed(system: str, other: str, workload: str, demanded: float) -> Goal:
    """By tokens/s: the same ratio as by texts/s, but for the luck of having answered the shorter texts."""
    ours = Cell(workload, 1, 64)
    theirs = Cell(workload, 32, 1) if other == "encode" else ours

    def find(seen: Round) -> float | None:
        return _ratio(
            _of(seen, system, ours, lambda each: each.tokens_per_second),
            _of(seen, other, theirs, lambda each: each.tokens_per_second),
        )

    what = "encode's, in process at batch 32" if other == "encode" else f"{other}'s"
    return Goal(f"{system}, {workload}, 64 clients: speed by {what}", demanded, find)


def _latency(system: str, other: str, demanded: float) -> Goal:
    cell = Cell("short", 1, 1)

    def find(seen: Round) -> float | None:
        return _ratio(_of(seen, system, cell, lambda each: each.p50), _of(seen, other, cell, lambda each: each.p50))

    return Goal(f"{system}, short, 1 client: p50 by {other}'s", demanded, find, at_least=False)


def _bound(system: str, workload: str, demanded: float) -> Goal:
    cell = Cell(workload, 32, 8)

    def find(seen: Round) -> float | None:
        return _of(seen, system, cell, seen.share)

    return Goal(f"{system}, {workload}, 32 a request, 8 clients: share of the bound", demanded, find, unit="")


def _ready(system: str, demanded: float) -> Goal:
    def find(seen: Round) -> float | None:
        return seen.systems[system].ready if system in seen.systems else None

    return Goal(f"{system}: ready", demanded, find, unit="s", at_least=False)


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
