"""Plots of one run. The colours are Okabe and Ito's, which colour-blind readers can tell apart."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib import pyplot as plt

from bench.results import Measured, Run
from bench.table import TITLES
from bench.workloads import WORKLOADS, Cell

__all__ = ["draw"]

_COLOURS = {
    "huggingface": "#0072B2",
    "vllm": "#56B4E9",
    "encode": "#999999",
    "infinity": "#E69F00",
    "vllm-server": "#D55E00",
}
_MARKERS = {"huggingface": "o", "vllm": "s", "encode": "D", "infinity": "^", "vllm-server": "v"}

_STYLE = {
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.dpi": 110,
    "figure.titlesize": 13,
    "font.size": 10,
    "legend.frameon": False,
}


def draw(run: Run, base: Path) -> list[Path]:
    """Writes BASE-throughput.png, BASE-latency.png and BASE-start.png, and returns their paths."""
    mpl.use("agg")
    drawn = []
    with mpl.rc_context(_STYLE):
        for name, picture in (("throughput", _throughput), ("latency", _latency), ("start", _start)):
            figure = picture(run)
            path = base.with_name(f"{base.name}-{name}.png")
            figure.savefig(path, bbox_inches="tight")
            plt.close(figure)
            drawn.append(path)
    return drawn


def _throughput(run: Run) -> Any:
    """Bars of texts/s under full load, and a line at the bound of the linear layers."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 3.9), layout="constrained")
    bound = sorted(each.bound.tokens_per_second for each in run.rounds)[len(run.rounds) // 2]
    rows = run.systems[::-1]
    for ax, workload in zip(axes, WORKLOADS, strict=True):
        most = bound / run.tokens_a_text[workload]
        for place, system in enumerate(rows):
            for lift, batch, clients, shade in ((0.19, 1, 64, 1.0), (-0.19, 32, 8, 0.55)):
                value = _texts(run, system, Cell(workload, batch, clients))
                if value is not None:
                    ax.barh(place + lift, value, height=0.36, color=_COLOURS[system], alpha=shade)
                    ax.text(value + most * 0.01, place + lift, f"{value:.0f}", va="center", fontsize=9)
        ax.axvline(most, color="black", linewidth=1, linestyle="--")
        ax.text(most, len(rows) - 0.42, "bound of the\nlinear layers ", ha="right", va="bottom", fontsize=9)
        ax.set_yticks(range(len(rows)), [TITLES[each].replace(", ", ",\n") for each in rows])
        ax.set(xlabel="texts/s", xlim=(0, most * 1.08), ylim=(-0.6, len(rows) - 0.4))
        ax.set_title(f"{workload} ({run.tokens_a_text[workload]:.0f} tokens per text)", pad=34)
    axes[1].set_yticklabels([])
    figure.suptitle(
        "Throughput: dark, 64 clients with one text per request; light, 8 clients with 32 texts per request\n"
        "(encode: no clients, batches of 32)",
        fontsize=11,
        x=0.01,
        ha="left",
    )
    return figure


def _texts(run: Run, system: str, cell: Cell) -> float | None:
    """`encode` has no clients; its one figure is shown with the dark bars."""
    if system == "encode":
        if cell.batch > 1:
            return None
        cell = Cell(cell.workload, 32, 1)
    return run.median(system, cell, lambda each: each.texts_per_second)


def _latency(run: Run) -> Any:
    """Lines of p50 and p99 by number of clients, with one text per request."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 4.2), layout="constrained", sharey=True)
    servers = [each for each in run.systems if each != "encode"]
    clients = (1, 8, 64)
    for ax, workload in zip(axes, WORKLOADS, strict=True):
        for place, system in enumerate(servers):
            xs = [at + 0.08 * (place - (len(servers) - 1) / 2) for at in range(len(clients))]
            p50 = [_ms(run, system, Cell(workload, 1, each), lambda found: found.p50) for each in clients]
            p99 = [_ms(run, system, Cell(workload, 1, each), lambda found: found.p99) for each in clients]
            look = {"color": _COLOURS[system], "marker": _MARKERS[system]}
            ax.plot(xs, p50, label=TITLES[system], markersize=7, **look)
            ax.plot(xs, p99, linestyle="none", markersize=7, markerfacecolor="white", **look)
            ax.vlines(xs, p50, p99, color=_COLOURS[system], linewidth=1, alpha=0.6)
        alone = _ms(run, "encode", Cell(workload, 1, 1), lambda found: found.p50)
        if alone == alone:  # noqa: PLR0124 NaN if it was not measured
            ax.axhline(alone, color=_COLOURS["encode"], linestyle="--", linewidth=1)
            ax.text(2.25, alone, "one text by encode", ha="right", va="bottom", fontsize=9, color="#555555")
        ax.set(yscale="log", xlabel="clients", xlim=(-0.3, 2.3))
        ax.set_xticks(range(len(clients)), [str(each) for each in clients])
        ax.yaxis.set_major_formatter(mpl.ticker.FuncFormatter(lambda value, _: f"{value:g}"))
        ax.grid(axis="y", alpha=0.3)
        ax.set_title(f"{workload} ({run.tokens_a_text[workload]:.0f} tokens per text)")
    axes[0].set_ylabel("ms, logarithmic")
    figure.suptitle("Latency, one text per request: filled, p50; hollow, p99", fontsize=11, x=0.01, ha="left")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(servers))
    return figure


def _ms(run: Run, system: str, cell: Cell, value: Callable[[Measured], float | None]) -> float:
    """NaN if the cell was not measured; matplotlib draws nothing for it."""
    found = run.median(system, cell, value)
    return float("nan") if found is None else 1000 * found


def _start(run: Run) -> Any:
    """Bars of the seconds to the first vector, and of peak memory."""
    figure, axes = plt.subplots(1, 2, figsize=(10, 2.9), layout="constrained")
    rows = run.systems[::-1]
    ready = [run.median_of(each, lambda found: found.ready) for each in rows]
    memory = [run.median_of(each, lambda found: found.peak_memory and found.peak_memory / 2**30) for each in rows]
    for ax, values, title, form in (
        (axes[0], ready, "seconds to the first vector", "{:.1f}"),
        (axes[1], memory, "peak memory, GiB (all processes)", "{:.2f}"),
    ):
        most = max((value for value in values if value is not None), default=1)
        for place, (system, value) in enumerate(zip(rows, values, strict=True)):
            if value is not None:
                ax.barh(place, value, height=0.6, color=_COLOURS[system])
                ax.text(value + most * 0.01, place, form.format(value), va="center", fontsize=9)
        ax.set_yticks(range(len(rows)), [TITLES[each].replace(", ", ",\n") for each in rows])
        ax.set(xlim=(0, most * 1.12), title=title)
    axes[1].set_yticklabels([])
    figure.suptitle("Start and memory", fontsize=11, x=0.01, ha="left")
    return figure
