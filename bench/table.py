"""What one run found, as Markdown."""

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
    """The whole page. `raw` and `plots` are names of files beside it."""
    machine, bound = run.machine, _bound_words(run)
    versions = ", ".join(f"{name} {version}" for name, version in machine.versions.items())
    drawn = "\n".join(f"![{plot.rpartition('-')[2]}]({plot})" for plot in plots)
    sections = [_workload(run, name, batch) for name in WORKLOADS for batch in (1, 32)]
    return f"""\
# {run.started[:10]}, {", ".join(filter(None, (machine.gpu, machine.cpu)))}, {len(machine.cores)} cores

Written by `make bench`: do not edit. all-MiniLM-L6-v2 in {run.dtype}; medians of rounds ({len(run.rounds)}); a \
cell's window is {run.seconds:g} s, twice that with 64 texts or more under way. \
[How it is measured](../../docs/performance.md); [all that was measured]({raw}).

{machine.memory_gib:.0f} GiB of memory, Linux {machine.kernel}; every process, the clients' too, on cores \
{", ".join(map(str, machine.cores))}. {versions}. {_others_words(run)}

{bound}

{_goals(run)}## Systems
{systems_table(run)}

{"".join(sections)}{f"## Plots{chr(10)}{drawn}{chr(10)}" if drawn else ""}"""


def _goals(run: Run) -> str:
    """They were set for CPUs."""
    return "" if run.machine.gpu else f"## What has to be reached\n{goals_table(run)}\n\n"


def goals_table(run: Run) -> str:
    """Demanded, found, met."""
    rows = [_goal_row(verdict) for verdict in judge(run)]
    return markdown_table(("what", "demanded", "found (median of rounds)", "rounds", "met"), rows)


def systems_table(run: Run) -> str:
    """What a system has once: start, memory, exactness, and what went wrong."""
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
    head = ("system", "ready, s", "peak memory, MiB", "least cosine", "/healthz p99 under load, ms", "trouble")
    return markdown_table(head, rows)


def cells_table(run: Run, workload: str, batch: int) -> str:
    """A row a system and number of clients."""
    rows = [
        (TITLES[system], str(cell.clients), *_figures(run, system, cell))
        for system in run.systems
        for cell in CELLS
        if (cell.workload, cell.batch) == (workload, batch)
        and run.median(system, cell, lambda each: each.seconds) is not None
    ]
    head = ("system", "clients", "texts/s", "tokens/s", "of the bound", "p50, ms", "p99, ms", "CPU-s per 1,000 texts")
    return markdown_table(head, rows)


def _workload(run: Run, workload: str, batch: int) -> str:
    """Nothing where none of its cells was measured."""
    cells = (cell.cell for each in run.rounds for system in each.systems.values() for cell in system.cells)
    if not any((cell.workload, cell.batch) == (workload, batch) for cell in cells):
        return ""
    return (
        f"## {workload}, {'one text' if batch == 1 else f'{batch} texts'} a request "
        f"({run.tokens_a_text[workload]:.1f} tokens a text)\n{cells_table(run, workload, batch)}\n\n"
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


def _bound_words(run: Run) -> str:
    middle = sorted(run.rounds, key=lambda each: each.bound.tokens_per_second)[len(run.rounds) // 2].bound
    libraries = ", ".join(f"{name} {gflops:.0f}" for name, gflops in middle.gflops.items())
    texts = ", ".join(f"{middle.tokens_per_second / n:.0f} {name} texts/s" for name, n in run.tokens_a_text.items())
    return (
        f"The bound of the linear layers (matrix products alone, at the model's shapes, {middle.tokens:,} tokens): "
        f"{libraries} GFLOP/s; {middle.flop_per_token / 1e6:.1f} MFLOP a token; the best allows "
        f"{middle.tokens_per_second:,.0f} tokens/s, which is {texts}."
    )


def _others_words(run: Run) -> str:
    """How much of the cores went to others: a run beside other work shows itself."""
    cells = [cell for each in run.rounds for system in each.systems.values() for cell in system.cells]
    shares = [cell.others / (cell.seconds * len(run.machine.cores)) for cell in cells]
    if not shares:
        return ""
    return (
        f"All that is not the measured system, the clients included, took {statistics.median(shares):.0%} of the cores "
        f"(median of cells; {max(shares):.0%} in the worst)."
    )


def _goal_row(verdict: Verdict) -> tuple[str, ...]:
    goal = verdict.goal
    unit = f" {goal.unit}" if goal.unit else ""
    sign = "≥" if goal.at_least else "≤"
    met = {True: "yes", False: "**no**", None: "not measured"}[verdict.met]
    found = _number(verdict.found, "{:.2f}" + unit)
    spread = "" if verdict.low is None else f"{verdict.low:.2f} to {verdict.high:.2f}"
    return (goal.words, f"{sign} {goal.demanded:g}{unit}", found, spread, met)


def _number(value: float | None, form: str) -> str:
    return "" if value is None else form.format(value)


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_escaped, line))} |" for line in lines)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
