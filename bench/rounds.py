"""The run: rounds of systems, each started, checked, measured and stopped before the next one starts."""

import json
import subprocess
import sys
from collections.abc import Sequence

import numpy as np

from bench.progress import Progress
from bench.results import Bound, Round, SystemRound
from bench.sessions import REFUSED, Inputs, Session, SystemFailed, Vectors, session
from bench.systems import ENCODE, OFFLINE, SERVERS
from bench.workloads import Cell

__all__ = ["EXACT", "cost", "measure_bound", "reference", "run", "total_cost"]

EXACT = 0.9999
"""The least cosine with sentence-transformers' own vectors."""

START = {"encode": 15.0, "huggingface": 10.0, "infinity": 20.0, "vllm": 35.0, "vllm-server": 50.0}
"""What a start and a stop take, about, in seconds: for the time that is left, nothing else."""


def run(
    systems: Sequence[str], cells: Sequence[Cell], rounds: int, inputs: Inputs, expected: Vectors, progress: Progress
) -> list[Round]:
    """Every second round runs the systems in the opposite order, so that a machine that slows down harms none more."""
    done = []
    for number in range(rounds):
        where = f"round {number + 1} of {rounds}"
        with progress.part(f"{where}, the linear layers' bound", START[ENCODE]):
            bound = measure_bound(inputs)
        turns = {}
        for system in systems if number % 2 == 0 else systems[::-1]:
            with progress.part(f"{where}, {system}", cost(system, cells, inputs)):
                turns[system] = _turn(system, cells, inputs, expected, progress)
        done.append(Round(bound=bound, systems=turns))
    return done


def total_cost(systems: Sequence[str], cells: Sequence[Cell], rounds: int, inputs: Inputs) -> float:
    """Seconds that a run takes, about."""
    return START[ENCODE] + rounds * (START[ENCODE] + sum(cost(system, cells, inputs) for system in systems))


def cost(system: str, cells: Sequence[Cell], inputs: Inputs) -> float:
    """Seconds that one round of it takes, about."""
    ours = ENCODE != system and SERVERS[system].health is not None
    loads = [each for each in cells if system != ENCODE or each.clients == 1]
    loads_seconds = sum(inputs.seconds * each.duration + inputs.warm_up + 1 for each in loads)
    health = (inputs.seconds + inputs.warm_up + 1) * sum(map(_probed, cells)) if ours else 0
    return START[system] + loads_seconds + health


def reference(inputs: Inputs, progress: Progress) -> Vectors:
    """sentence-transformers' own vectors. Without them nothing can be compared: raises SystemFailed."""
    with progress.part("sentence-transformers' own vectors", START[ENCODE]), session(ENCODE, inputs) as encoder:
        return encoder.vectors()


def measure_bound(inputs: Inputs) -> Bound:
    """In a process of its own, which loads torch."""
    command = [sys.executable, "-m", "bench.bound", str(inputs.model_dir)]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stdout  # noqa: S603 ours
    return Bound.model_validate(json.loads(said.splitlines()[-1]))


def _turn(system: str, cells: Sequence[Cell], inputs: Inputs, expected: Vectors, progress: Progress) -> SystemRound:
    """All of one system in one round. What fails is told in the result; what was measured before is kept."""
    result = SystemRound()
    try:
        with session(system, inputs) as running:
            result = result.model_copy(update={"ready": running.ready})
            progress.say(f"ready after {running.ready:.1f} s")
            result = result.model_copy(update={"cosine": _least_cosine(running.vectors(), expected)})
            if result.cosine is None or result.cosine < EXACT:
                raise SystemFailed(f"wrong vectors: cosine {result.cosine:.6f} with sentence-transformers")
            result = _measured(running, cells, result, progress)
    except REFUSED as error:
        result = result.model_copy(update={"failed": str(error) or repr(error)})
        progress.say(f"failed: {result.failed}")
    return result


def _measured(running: Session, cells: Sequence[Cell], result: SystemRound, progress: Progress) -> SystemRound:
    measured, health = [], []
    for cell in cells:
        figures = running.measure(cell)
        if figures is None:
            continue
        measured.append(figures)
        p50 = "" if figures.p50 is None else f", p50 {1000 * figures.p50:.1f} ms"
        progress.say(f"{cell}: {figures.texts_per_second:.0f} texts/s, {figures.tokens_per_second:.0f} tokens/s{p50}")
    for cell in filter(_probed, cells):
        probed = running.health(cell)
        if probed is not None:
            health.append(probed)
            progress.say(f"{cell}: /healthz p99 {1000 * probed.p99:.1f} ms")
    memory = running.tree.peak_memory or None
    return result.model_copy(update={"cells": tuple(measured), "health": tuple(health), "peak_memory": memory})


def _probed(cell: Cell) -> bool:
    """The cells under which the front has most to do: most requests, and largest answers."""
    return cell.workload == "short" and cell.clients == 64  # noqa: PLR2004


def _least_cosine(found: Vectors, expected: Vectors) -> float:
    if found.shape != expected.shape:
        raise SystemFailed(f"wrong vectors: shape {found.shape}, not {expected.shape}")
    lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
    return float((np.einsum("ij,ij->i", found, expected) / lengths).min())
