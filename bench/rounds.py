"""The run: rounds of systems, each started, checked, measured and stopped before the next one starts."""

import subprocess
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np

from bench.progress import Progress
from bench.results import Bound, Health, Measured, Round, SystemRound
from bench.sessions import REFUSED, Inputs, SystemFailed, Vectors, session
from bench.systems import ENCODE, SERVERS
from bench.workloads import Cell
from embedding_runtime.launch import keeping_memory

__all__ = ["Plan", "run"]

EXACT = 0.9999
"""The least cosine with sentence-transformers' own vectors."""

FIRST = Cell("mixed", 1, 64)
"""A load that does not count: what is compiled or allocated at first use belongs to no cell."""

START = {"encode": 15.0, "huggingface": 10.0, "infinity": 20.0, "vllm": 35.0, "vllm-server": 50.0}
"""What a start and a stop take, about, in seconds: for the time that is left, nothing else."""


BOUND = 10.0
"""What one measurement of the bound takes, about, in seconds."""


@dataclass(frozen=True)
class Plan:
    """What is run."""

    systems: tuple[str, ...]
    cells: tuple[Cell, ...]
    rounds: int
    inputs: Inputs

    @property
    def seconds(self) -> float:
        """What all of it takes, about."""
        return START[ENCODE] + self.rounds * sum(BOUND + self.turn_seconds(system) for system in self.systems)

    def turn_seconds(self, system: str) -> float:
        """What one round of a system takes, about."""
        once = self.inputs.warm_up + 1
        cells = [cell for cell in (FIRST, *self.cells) if system != ENCODE or cell.clients == 1]
        probed = [cell for cell in cells if _probed(cell) and system != ENCODE and SERVERS[system].health]
        cells_seconds = sum(once + self.inputs.seconds * cell.duration for cell in cells)
        return START[system] + cells_seconds + len(probed) * (once + self.inputs.seconds)


def run(plan: Plan, progress: Progress) -> list[Round]:
    """All of it. Raises SystemFailed where nothing can be compared: no reference vectors, or no bound.

    Every second round runs the systems in the opposite order, so that a machine that slows down harms none more.
    """
    expected = _reference(plan.inputs, progress)
    done = []
    for number in range(plan.rounds):
        where = f"round {number + 1} of {plan.rounds}"
        bounds, turns = [], {}
        for system in plan.systems if number % 2 == 0 else plan.systems[::-1]:
            with progress.part(f"{where}, the linear layers' bound", BOUND):
                bounds.append(_measure_bound(plan.inputs))
            with progress.part(f"{where}, {system}", plan.turn_seconds(system)):
                turns[system] = _turn(system, plan, expected, progress)
        done.append(Round(bound=Bound.middle(bounds), systems=turns))
    return done


def _reference(inputs: Inputs, progress: Progress) -> Vectors:
    """sentence-transformers' own vectors. Without them nothing can be compared: raises SystemFailed."""
    with progress.part("sentence-transformers' own vectors", START[ENCODE]), session(ENCODE, inputs) as encoder:
        return encoder.vectors()


def _measure_bound(inputs: Inputs) -> Bound:
    """In a process of its own, which loads torch and, as our worker, keeps its memory. Raises SystemFailed."""
    command = [sys.executable, "-m", "bench.bound", str(inputs.model_dir)]
    done = subprocess.run(  # noqa: S603 ours
        command, check=False, capture_output=True, text=True, env=keeping_memory()
    )
    if done.returncode != 0:
        raise SystemFailed(f"bench.bound ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    return Bound.model_validate_json(done.stdout.splitlines()[-1])


def _turn(system: str, plan: Plan, expected: Vectors, progress: Progress) -> SystemRound:
    """All of one system in one round. What fails is told in the result, beside what was measured before."""
    found: dict[str, Any] = {}
    cells, health = found["cells"], found["health"] = list[Measured](), list[Health]()
    try:
        with session(system, plan.inputs) as running:
            found["ready"] = running.ready
            progress.say(f"ready after {running.ready:.1f} s")
            found["cosine"] = _proved(running.vectors(), expected)
            running.measure(FIRST)
            for cell in plan.cells:
                if (figures := running.measure(cell)) is not None:
                    cells.append(figures)
                    progress.say(f"{cell}: {_words(figures)}")
            for cell in filter(_probed, plan.cells):
                if (probed := running.health(cell)) is not None:
                    health.append(probed)
                    progress.say(f"{cell}: /healthz p99 {1000 * probed.p99:.1f} ms")
            found["peak_memory"] = running.tree.peak_memory
    except REFUSED as error:
        found["failed"] = str(error) or repr(error)
        progress.say(f"failed: {found['failed']}")
    return SystemRound.model_validate(found)


def _words(figures: Measured) -> str:
    if not figures.texts:
        return f"no answer within {figures.seconds:.1f} s"
    p50 = "" if figures.p50 is None else f", p50 {1000 * figures.p50:.1f} ms"
    return f"{figures.texts_per_second:.0f} texts/s, {figures.tokens_per_second:.0f} tokens/s{p50}"


def _probed(cell: Cell) -> bool:
    """The cells under which the front has most to do: most requests, and largest answers."""
    return cell.workload == "short" and cell.clients == 64  # noqa: PLR2004


def _proved(found: Vectors, expected: Vectors) -> float:
    """The least cosine of a vector with the one expected. Raises SystemFailed where it is below EXACT."""
    if found.shape != expected.shape:
        raise SystemFailed(f"wrong vectors: shape {found.shape}, not {expected.shape}")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    least = float((np.einsum("ij,ij->i", found, expected) / lengths).min())
    if not least >= EXACT:  # not a number fails too
        raise SystemFailed(f"wrong vectors: cosine {least:.6f} with sentence-transformers', less than {EXACT}")
    return least
