"""The run. Each round starts and checks all systems, then measures them in turn, cell by cell."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.progress import Progress
from bench.results import Bound, Measured, Round, SystemRound
from bench.sessions import TURN_ERRORS, Inputs, Session, SystemFailed, Vectors, session
from bench.systems import ENCODE, EXACT, SERVERS
from bench.workloads import Cell
from embedding_runtime.launch import keeping_memory

__all__ = ["Plan", "check_vectors", "reference", "run", "summary"]

FIRST = Cell("mixed", 1, 64)
"""A load that is not measured, so that no cell includes compilation and allocation at first use."""

START = {"encode": 15.0, "huggingface": 10.0, "infinity": 20.0, "vllm": 35.0, "vllm-server": 50.0}
"""Estimated seconds of a start and a stop; used only for the remaining time that is printed."""

BOUND = 5.0
"""Estimated seconds of one measurement of the bound."""


@dataclass(frozen=True)
class Plan:
    """The systems, cells, rounds and inputs of a run."""

    systems: tuple[str, ...]
    cells: tuple[Cell, ...]
    rounds: int
    inputs: Inputs

    @property
    def seconds(self) -> float:
        """The estimated seconds of the run."""
        starts = sum(map(self.start_seconds, self.systems))
        cells = sum(self.cell_seconds(cell, system) for cell in self.cells for system in self.systems)
        return START[ENCODE] + self.rounds * (starts + len(self.steps) * BOUND + cells)

    @property
    def steps(self) -> list[list[Cell]]:
        """The cells that are measured in one turn: mostly one.

        64 clients with one text per request are compared with `encode` in batches of 32, so both are in one turn.
        """
        steps: list[list[Cell]] = []
        for cell in self.cells:
            if cell == Cell(cell.workload, 32, 1) and Cell(cell.workload, 1, 64) in self.cells:
                steps[-1].append(cell)
            else:
                steps.append([cell])
        return steps

    def start_seconds(self, system: str) -> float:
        """What starting and checking a system takes, about."""
        return START[system] + self.cell_seconds(FIRST, system)

    def cell_seconds(self, cell: Cell, system: str) -> float:
        """What a cell of a system takes, about."""
        if system == ENCODE and cell.clients != 1:
            return 0
        probes = _probed(cell) and system != ENCODE and SERVERS[system].health is not None
        return (1 + probes) * (self.inputs.warm_up + 1) + self.inputs.seconds * (cell.duration + probes)


def run(plan: Plan, progress: Progress) -> list[Round]:
    """All of it. Raises SystemFailed where nothing can be compared: no reference vectors, or no bound."""
    expected = reference(plan.inputs, progress)
    return [_round(number, plan, expected, progress) for number in range(plan.rounds)]


def _round(number: int, plan: Plan, expected: Vectors, progress: Progress) -> Round:
    """All systems are up, and take turns, step by step: what is compared ran within one minute. Others are paused.

    The order is the opposite one in every second round, and from step to step; the bound is at one end of it.
    """
    where = f"round {number + 1} of {plan.rounds}"
    turns = {system: _Turn(system) for system in plan.systems[:: -1 if number % 2 else 1]}
    bounds: dict[str, Bound] = {}
    with ExitStack() as stack:
        for system, turn in turns.items():
            stack.callback(turn.close)
            with progress.part(f"{where}, {system}", plan.start_seconds(system)):
                turn.start(plan.inputs, expected, progress)
        for place, step in enumerate(plan.steps):
            for measured in (None, *plan.systems)[:: -1 if (number + place) % 2 else 1]:
                if measured is None:
                    with progress.part(f"{where}, {step[0]}, the linear layers' bound", BOUND):
                        bounds |= dict.fromkeys(map(str, step), _measure_bound(plan.inputs))
                    continue
                for cell in step:
                    with progress.part(f"{where}, {cell}, {measured}", plan.cell_seconds(cell, measured)):
                        turns[measured].measure(cell, progress, last=cell == plan.cells[-1])
    found = {system: turn.record() for system, turn in turns.items()}
    return Round(bound=Bound.middle(list(bounds.values())), bounds=bounds, systems=found)


def reference(inputs: Inputs, progress: Progress) -> Vectors:
    """The vectors of sentence-transformers, which all others are compared with. Raises SystemFailed."""
    with progress.part("reference vectors of sentence-transformers", START[ENCODE]), session(ENCODE, inputs) as encoder:
        return encoder.vectors()


def _measure_bound(inputs: Inputs) -> Bound:
    """Runs bench.bound, which like a worker does not return freed memory. Raises SystemFailed."""
    command = [sys.executable, "-m", "bench.bound", str(inputs.model_dir), inputs.dtype]
    done = subprocess.run(  # noqa: S603 a fixed command
        command, check=False, capture_output=True, text=True, env=keeping_memory()
    )
    if done.returncode != 0:
        raise SystemFailed(f"bench.bound failed with exit status {done.returncode}: {done.stderr.strip()[-300:]}")
    return Bound.model_validate_json(done.stdout.splitlines()[-1])


class _Turn:
    """One system in one round. A failure ends the turn; the record has it and the earlier measurements."""

    def __init__(self, system: str) -> None:
        self._system = system
        self._found: dict[str, Any] = {"cells": [], "health": []}
        self._stack = ExitStack()
        self._running: Session | None = None

    def start(self, inputs: Inputs, expected: Vectors, progress: Progress) -> None:
        """Starts the system, checks its vectors, and warms it up."""
        with self._failures_recorded(progress):
            self._running = running = self._stack.enter_context(session(self._system, inputs))
            self._found["ready"] = running.ready
            progress.say(f"ready after {running.ready:.1f} s")
            self._found["cosine"] = check_vectors(running.vectors(), expected)
            running.measure(FIRST)
            running.settle()
            running.tree.pause()

    def measure(self, cell: Cell, progress: Progress, *, last: bool) -> None:
        """Measures a cell, unless the system has failed. After the last cell it stops the system."""
        with self._failures_recorded(progress):
            if self._running is not None:
                with self._running.tree.resumed():
                    self._measure(self._running, cell, progress, last=last)
        if last:
            self.close()

    def _measure(self, running: Session, cell: Cell, progress: Progress, *, last: bool) -> None:
        if (figures := running.measure(cell)) is None:
            return
        self._found["cells"].append(figures)
        progress.say(summary(figures))
        if _probed(cell):
            running.settle()
            if (probed := running.health(cell)) is not None:
                self._found["health"].append(probed)
                progress.say(f"/healthz p99 {1000 * probed.p99:.1f} ms")
        self._found["peak_memory"] = running.tree.peak_memory
        if not last:
            running.settle()

    def close(self) -> None:
        """Stops the system if it runs."""
        self._running = None
        self._stack.close()

    def record(self) -> SystemRound:
        return SystemRound.model_validate(self._found)

    @contextmanager
    def _failures_recorded(self, progress: Progress) -> Iterator[None]:
        try:
            yield
        except TURN_ERRORS as error:
            self._found["failed"] = str(error) or repr(error)
            progress.say(f"failed: {self._found['failed']}")
            self.close()


def summary(figures: Measured) -> str:
    if not figures.texts:
        return f"no answer within {figures.seconds:.1f} s"
    p50 = "" if figures.p50 is None else f", p50 {1000 * figures.p50:.1f} ms"
    return f"{figures.texts_per_second:.0f} texts/s, {figures.tokens_per_second:.0f} tokens/s{p50}"


def _probed(cell: Cell) -> bool:
    """Whether /healthz is probed: in the cells with the most requests and the largest answers."""
    return cell.workload == "short" and cell.clients == 64  # noqa: PLR2004


def check_vectors(found: Vectors, expected: Vectors, at_least: float = EXACT) -> float:
    """The lowest cosine of a vector with the expected one. Raises SystemFailed if it is below `at_least`."""
    if found.shape != expected.shape:
        raise SystemFailed(f"wrong vectors: their shape is {found.shape}, expected {expected.shape}")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    least = float((np.einsum("ij,ij->i", found, expected) / lengths).min())
    if not least >= at_least:  # also true for NaN
        raise SystemFailed(f"wrong vectors: a cosine with the reference is {least:.6f}, below {at_least}")
    return least
