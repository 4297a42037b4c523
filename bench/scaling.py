"""How this runtime scales with cores, workers and frontends, compared with `encode` of sentence-transformers.

Examples:
  python -m bench.scaling                                        1, 2, 4... cores of this machine, three rounds
  python -m bench.scaling --cores 2 --systems "huggingface,huggingface --workers=2 --frontends=2"
                                                                 two set-ups on the same two cores
  python -m bench.scaling --gpu                                  float16 on a GPU, MiniLM and BERT-base's shape
  python -m bench.scaling --cores 2 --systems "huggingface,huggingface --dtype=bfloat16"
                                                                 float32 and bfloat16
  python -m bench.scaling -o json >run.jsonl                     every figure of every round, a line a measurement

A server gets the first cores. Clients get the other cores if at least two are left, otherwise all. With --gpu all
processes have all cores. Figures are medians of the rounds; ratios are to the same system on two cores in the same
round.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.inputs import bert_base, minilm
from bench.progress import Progress
from bench.results import Measured
from bench.rounds import START, check_vectors, reference
from bench.sessions import TURN_ERRORS, Inputs, Vectors, session
from bench.systems import ENCODE, least_cosine, server
from bench.table import markdown_table
from bench.workloads import Cell

IN_PROCESS = "in process"
"""The backend alone, without a server: bench.in_process."""

_ON_CPUS = (Cell("short", 1, 64), Cell("short", 32, 16), Cell("mixed", 32, 16), Cell("short", 1, 1))
_ON_GPUS = (Cell("short", 1, 64), Cell("short", 1, 256), Cell("short", 32, 64), Cell("mixed", 32, 64))
_OF_ENCODE: Mapping[Cell, Cell] = {
    Cell("short", 32, 16): Cell("short", 32, 1),
    Cell("mixed", 32, 16): Cell("mixed", 32, 1),
    Cell("short", 1, 1): Cell("short", 1, 1),
}
"""The cell of `encode`, which has no clients, that is shown in a column."""

_GPU_SYSTEMS = (
    "huggingface --frontends=1 --workers=1",
    "huggingface --frontends=4 --workers=1",
    "huggingface --frontends=8 --workers=1",
    "huggingface --frontends=8 --workers=2",
    "huggingface",
    IN_PROCESS,
    "vllm --frontends=4 --workers=1",
    "vllm --frontends=4 --workers=4",
    "vllm",
)


@dataclass(frozen=True)
class Point:
    """One system in one round on a number of cores. `failed` says why it has no figures."""

    model: str
    system: str
    cores: int
    round: int
    found: dict[str, Measured]
    """By the cell of the column."""
    cosine: float | None = None
    """The lowest one with the reference."""
    tokens_per_second: float | None = None
    """Only for the backend in process."""
    failed: str | None = None


def main() -> int:
    """Exit status: 0, or 1 if a system could not be measured."""
    args = _parser().parse_args()
    if not shutil.which("wrk"):
        print("bench.scaling: wrk is not installed: run make bench, or apt-get install wrk", file=sys.stderr)
        return 1
    columns = _ON_GPUS if args.gpu else _ON_CPUS
    systems = args.systems or (_GPU_SYSTEMS if args.gpu else ("huggingface", ENCODE))
    all_cores = sorted(os.sched_getaffinity(0))
    counts = [len(all_cores)] if args.gpu else args.cores or _counts(len(all_cores))
    makers = {"all-MiniLM-L6-v2": minilm, **({"BERT-base's shape": bert_base} if args.gpu else {})}
    points: list[Point] = []
    turns = len(makers) * len(counts) * len(systems)
    a_turn = START["vllm"] / 2 + len(columns) * 2 * args.seconds
    progress = Progress(len(makers) * START[ENCODE] + args.rounds * turns * a_turn)
    for model, make in makers.items():
        with tempfile.TemporaryDirectory(prefix="bench-") as directory:
            inputs = make(Path(directory), args.seconds, args.warm_up, "float16" if args.gpu else args.dtype)
            same = _Conditions(model, columns, inputs, reference(inputs, progress), all_cores)
            for number in range(args.rounds):
                for cores in counts[:: -1 if number % 2 else 1]:
                    for system in systems:
                        with progress.part(f"round {number + 1}, {model}, {cores} cores, {system}", a_turn):
                            point = _measure(system, cores, number, same)
                            progress.say(point.failed or "done")
                            points.append(point)
                            if args.output == "json":  # at once: a run that is cut off keeps what it measured
                                print(json.dumps(_plain(point)), flush=True)
    if args.output == "table":
        print(table(points, columns))
    return int(any(each.failed for each in points))


def _counts(available: int) -> list[int]:
    """1, 2, 4... and the number of available cores."""
    powers = [2**place for place in range(available.bit_length()) if 2**place <= available]
    return powers if powers[-1] == available else [*powers, available]


@dataclass(frozen=True)
class _Conditions:
    """The conditions that are the same for all systems of a model."""

    model: str
    columns: Sequence[Cell]
    inputs: Inputs
    expected: Vectors
    all_cores: Sequence[int]


def _measure(system: str, cores: int, number: int, same: _Conditions) -> Point:
    """Starts the system, checks its vectors, and measures every column."""
    others = same.all_cores[cores:]
    clients = others if len(others) >= 2 else same.all_cores  # noqa: PLR2004 one for wrk, one for the kernel
    found: dict[str, Measured] = {}
    cosine = None
    try:
        with _pinned(same.all_cores[:cores]):
            if system == IN_PROCESS:
                speed = _in_process(same.inputs)
                return Point(same.model, system, cores, number, {}, tokens_per_second=speed)
            with session(system, same.inputs) as running:
                cosine = check_vectors(running.vectors(), same.expected, least_cosine(system))
                with _pinned(clients):
                    for column in same.columns:
                        cell = _OF_ENCODE.get(column) if system == ENCODE else column
                        if cell is not None and (figures := running.measure(cell)) is not None:
                            found[str(column)] = figures
                        running.settle()
    except TURN_ERRORS as error:
        return Point(same.model, system, cores, number, found, cosine, failed=str(error) or repr(error))
    return Point(same.model, system, cores, number, found, cosine)


@contextmanager
def _pinned(cores: Sequence[int]) -> Iterator[None]:
    """A context whose child processes run on these cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _in_process(inputs: Inputs) -> float:
    """Tokens/s of mixed texts. Raises OSError if the process fails."""
    command = [sys.executable, "-m", "bench.in_process", str(inputs.model_dir), inputs.dtype, str(inputs.seconds)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)  # noqa: S603 ours
    if done.returncode != 0:
        raise OSError(f"bench.in_process ended with {done.returncode}: {done.stderr.strip()[-300:]}")
    speed: float = json.loads(done.stdout.splitlines()[-1])["tokens_per_second"]
    return speed


def table(points: Sequence[Point], columns: Sequence[Cell]) -> str:
    """One table for each model, with a row for each system and number of cores."""
    models = {each.model: [point for point in points if point.model == each.model] for each in points}
    return "\n\n".join(
        f"{model}, texts/s (tokens/s), medians\n\n{_of_model(mine, columns)}" for model, mine in models.items()
    )


def _of_model(points: Sequence[Point], columns: Sequence[Cell]) -> str:
    rows = []
    for system, cores in dict.fromkeys((each.system, each.cores) for each in points):
        mine = [each for each in points if (each.system, each.cores) == (system, cores)]
        two = {each.round: each for each in points if (each.system, each.cores) == (system, 2)}
        failure = next((each.failed for each in mine if each.failed), None) or ""
        cells = [_figure(mine, two, column) for column in columns]
        speeds = [each.tokens_per_second for each in mine if each.tokens_per_second is not None]
        if speeds:
            cells[-1] = f"({statistics.median(speeds):,.0f})"
        rows.append((system, str(cores), *cells, failure))
    heads = [f"{column.workload}, {column.batch} per request, {column.clients} clients" for column in columns]
    return markdown_table(("system", "cores", *heads, "failure"), rows)


def _figure(points: Sequence[Point], two: Mapping[int, Point], column: Cell) -> str:
    found = [each.found[str(column)] for each in points if str(column) in each.found]
    if not found:
        return ""
    if column.clients == 1:
        return f"p50 {1000 * _median(found, lambda each: each.p50):.1f} ms"
    words = f"{_median(found, lambda each: each.texts_per_second):,.0f}"
    words += f" ({_median(found, lambda each: each.tokens_per_second):,.0f})"
    ratios = [
        (each.found[str(column)].tokens_per_second or 0) / (two[each.round].found[str(column)].tokens_per_second or 1)
        for each in points
        if str(column) in each.found and each.round in two and str(column) in two[each.round].found
    ]
    return words + (f", {statistics.median(ratios):.2f}x" if ratios and points[0].cores != 2 else "")  # noqa: PLR2004


def _median(found: Sequence[Measured], value: Callable[[Measured], float | None]) -> float:
    known = [each for each in map(value, found) if each is not None]
    return statistics.median(known) if known else float("nan")


def _plain(point: Point) -> dict[str, object]:
    return vars(point) | {"found": {cell: each.model_dump() for cell, each in point.found.items()}}


def _system(text: str) -> str:
    name = text.strip()
    if name not in {ENCODE, IN_PROCESS}:
        server(name)
    return name


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bench.scaling", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--systems",
        type=lambda text: tuple(map(_system, text.split(","))),
        help=f"servers, each with optional flags, {ENCODE}, {IN_PROCESS!r}",
    )
    parser.add_argument(
        "--cores", type=lambda text: [int(each) for each in text.split(",")], help="numbers of cores, for example 1,2,4"
    )
    parser.add_argument(
        "--gpu", action="store_true", help="measure the GPU's cells and configurations, in float16, on all cores"
    )
    parser.add_argument(
        "--dtype",
        choices=("float32", "float16"),
        default="float32",
        help="data type of the weights on CPUs (default: float32)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds of each measurement (default: 4)")
    parser.add_argument("--warm-up", type=float, default=1, help="seconds of load before each measurement (default: 1)")
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="output format (default: table)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
