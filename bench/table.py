"""The results of one run as Markdown."""

import statistics
from collections.abc import Callable, Sequence

from bench.goals import Verdict, judge
from bench.results import Measured, Run
from bench.workloads import CELLS, WORKLOADS, Cell

__all__ = ["TITLES", "cells_table", "goals_table", "markdown", "markdown_table", "systems_table"]

TITLES = {
    "huggingface": "this runtime, huggingface",
    "vllm": "this runtime, vllm",
    "encode": "sentence-transformers, encode",
    "infinity": "infinity 0.0.78",
    "vllm-server": "vLLM's own server",
}


def markdown(run: Run, raw: str, plots: Sequence[str]) -> str:
    """The whole page. `raw` and `plots` are the names of files in the same directory."""
    machine, bound = run.machine, _bound_text(run)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    drawn = "\n".join(f"![{plot.rpartition('-')[2]}]({plot})" for plot in plots)
    sections = [_workload(run, name, batch) for name in WORKLOADS for batch in (1, 32)]
    return f"""\
# {run.started[:10]}, {", ".join(filter(None, (machine.gpu, machine.cpu)))}, {len(machine.cores)} cores

Written by `make bench`: do not edit. The model is all-MiniLM-L6-v2 in {run.dtype}. The figures are medians of \
{len(run.rounds)} {"rounds" if len(run.rounds) > 1 else "round"}. A cell is measured for {run.seconds:g} s, or twice \
as long if 64 or more texts are in flight. \
[How the benchmark measures](../../docs/performance.md); [all measurements]({raw}).

The machine has {machine.memory_gib:.0f} GiB of memory and Linux {machine.kernel}. Every process, clients included, \
runs on cores {", ".join(map(str, machine.cores))}. Versions: {versions}. {_other_load_text(run)}

{bound}

{_goals(run)}## Systems
{systems_table(run)}

{"".join(sections)}{f"## Plots{chr(10)}{drawn}{chr(10)}" if drawn else ""}"""


def _goals(run: Run) -> str:
    """The table of goals; empty on a GPU, because the goals are for CPUs."""
    return "" if run.machine.gpu else f"## Goals\n{goals_table(run)}\n\n"


def goals_table(run: Run) -> str:
    """For each goal the target, the measured value, and whether it is met."""
    rows = [_goal_row(verdict) for verdict in judge(run)]
    return markdown_table(("goal", "target", "measured (median of rounds)", "range of rounds", "met"), rows)


def systems_table(run: Run) -> str:
    """The figures that a system has once: start, memory, exactness, and its failure, if any."""
    rows = []
    for system in run.systems:
        memory = run.median_of(system, lambda each: each.peak_memory)
        health = run.median_of(system, lambda each: max((h.p99 for h in each.health), default=None))
        rows.append(
            (
                TITLES[system],
                _number(run.median_of(system, lambda each: each.ready), "{:.1f}"),
                _number(memory and memory / 2**20, "{:.0f}"),
                _number(run.median_of(system, lambda each: each.cosine), "{:.7f}"),
                _number(health and 1000 * health, "{:.1f}"),
                run.failure(system) or "",
            )
        )
    head = ("system", "start, s", "peak memory, MiB", "lowest cosine", "/healthz p99 under load, ms", "failure")
    return markdown_table(head, rows)


def cells_table(run: Run, workload: str, batch: int) -> str:
    """One row for each system and number of clients."""
    rows = [
        (TITLES[system], str(cell.clients), *_figures(run, system, cell))
        for system in run.systems
        for cell in CELLS
        if (cell.workload, cell.batch) == (workload, batch)
        and run.median(system, cell, lambda each: each.seconds) is not None
    ]
    head = (
        "system",
        "clients",
        "texts/s",
        "tokens/s",
        "share of the bound",
        "p50, ms",
        "p99, ms",
        "CPU-s per 1,000 texts",
    )
    return markdown_table(head, rows)


def _workload(run: Run, workload: str, batch: int) -> str:
    """The section of one workload and batch size; empty if none of its cells was measured."""
    cells = (cell.cell for each in run.rounds for system in each.systems.values() for cell in system.cells)
    if not any((cell.workload, cell.batch) == (workload, batch) for cell in cells):
        return ""
    return (
        f"## {workload}, {'one text' if batch == 1 else f'{batch} texts'} per request "
        f"({run.tokens_a_text[workload]:.1f} tokens per text)\n{cells_table(run, workload, batch)}\n\n"
    )


def _figures(run: Run, system: str, cell: Cell) -> list[str]:
    def median(value: Callable[[Measured], float | None]) -> float | None:
        return run.median(system, cell, value)

    shares = [share for each in run.rounds if (share := each.share(each.systems[system].find(cell)))]
    return [
        _number(median(lambda each: each.texts_per_second), "{:.1f}"),
        _number(median(lambda each: each.tokens_per_second), "{:,.0f}"),
        _number(statistics.median(shares) if shares else None, "{:.2f}"),
        _number(median(lambda each: each.p50 and 1000 * each.p50), "{:.1f}"),
        _number(median(lambda each: each.p99 and 1000 * each.p99), "{:.1f}"),
        _number(median(lambda each: each.cpu_seconds_per_1000_texts), "{:.2f}"),
    ]


def _bound_text(run: Run) -> str:
    middle = sorted(run.rounds, key=lambda each: each.bound.tokens_per_second)[len(run.rounds) // 2].bound
    libraries = ", ".join(f"{name} {gflops:.0f}" for name, gflops in middle.gflops.items())
    texts = ", ".join(f"{middle.tokens_per_second / n:.0f} {name} texts/s" for name, n in run.tokens_a_text.items())
    return (
        "The bound is the speed of the linear layers' matrix products alone, at the model's shapes, for "
        f"{middle.tokens:,} tokens: {libraries} GFLOP/s. At {middle.flop_per_token / 1e6:.1f} MFLOP per token, the "
        f"fastest allows {middle.tokens_per_second:,.0f} tokens/s, which is {texts}."
    )


def _other_load_text(run: Run) -> str:
    """The share of the cores that other processes used. It shows whether other work ran during the benchmark."""
    cells = [cell for each in run.rounds for system in each.systems.values() for cell in system.cells]
    shares = [cell.others / (cell.seconds * len(run.machine.cores)) for cell in cells]
    if not shares:
        return ""
    return (
        f"Processes other than the measured system, clients included, used {statistics.median(shares):.0%} of the "
        f"cores (median of cells; at most {max(shares):.0%})."
    )


def _goal_row(verdict: Verdict) -> tuple[str, ...]:
    goal = verdict.goal
    unit = f" {goal.unit}" if goal.unit else ""
    sign = "≥" if goal.at_least else "≤"
    met = {True: "yes", False: "**no**", None: "not measured"}[verdict.met]
    found = _number(verdict.found, "{:.2f}" + unit)
    spread = "" if verdict.low is None else f"{verdict.low:.2f} to {verdict.high:.2f}"
    return (goal.title, f"{sign} {goal.target:g}{unit}", found, spread, met)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
