"""How bulk requests slow down search queries: queries alone, bulk requests alone, and both at once.

Examples:
  python -m bench.lanes                                    both backends, three rounds: about five minutes
  python -m bench.lanes --systems huggingface --rounds 1   one backend, once: a minute
  python -m bench.lanes -o json                            every figure of every round

A query is a request with one short text. Bulk requests have 32 mixed texts; their 64 clients keep about 100,000 tokens
waiting.
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.inputs import minilm
from bench.progress import Progress
from bench.results import Measured
from bench.rounds import START
from bench.sessions import TURN_ERRORS, Session, session
from bench.systems import OURS
from bench.table import markdown_table
from bench.workloads import Cell

QUERY, QUERIES = Cell("short", 1, 1), Cell("short", 1, 8)
REQUEST, BULK = Cell("mixed", 32, 1), Cell("mixed", 32, 64)


@dataclass(frozen=True)
class Lanes:
    """One system in one round. Times in seconds, throughput in tokens/s."""

    system: str
    query_alone: tuple[float, float]
    """p50 and p99."""
    query_beside: tuple[float, float]
    bulk_alone: float
    bulk_beside: float
    """Under eight clients that send queries without pause."""
    query_beside_eight: tuple[float, float]
    batch: float
    """p50 of one client that sends bulk requests of 32 texts, without other load."""


def main() -> int:
    """Exit status: 0, or 1 if a system could not be measured."""
    args = _parser().parse_args()
    found: list[Lanes] = []
    failed = False
    progress = Progress(args.rounds * len(args.systems) * (START["vllm"] + 8 * args.seconds + 20))
    with tempfile.TemporaryDirectory(prefix="bench-") as directory:
        inputs = minilm(Path(directory), args.seconds, args.warm_up, args.dtype)
        for number in range(args.rounds):
            for system in args.systems[:: -1 if number % 2 else 1]:
                with (
                    progress.part(f"round {number + 1}, {system}", START["vllm"] + 8 * args.seconds),
                    ExitStack() as up,
                ):
                    try:
                        found.append(_measure(system, up.enter_context(session(system, inputs))))
                    except TURN_ERRORS as error:
                        failed = True
                        progress.say(f"failed: {error}")
    print(json.dumps([asdict(each) for each in found], indent=1) if args.output == "json" else table(found))
    return int(failed)


def _measure(system: str, running: Session) -> Lanes:
    running.measure(BULK)  # warm-up, not measured
    running.settle()
    alone = _seen(running.measure(QUERY))
    batch = _seen(running.measure(REQUEST))
    beside, _ = _both(running.measure_beside(QUERY, BULK))
    running.settle()
    bulk_alone = _seen(running.measure(BULK))
    running.settle()
    eight, bulk_beside = _both(running.measure_beside(QUERIES, BULK))
    return Lanes(
        system=system,
        query_alone=_times(alone),
        query_beside=_times(beside),
        bulk_alone=bulk_alone.tokens_per_second or 0,
        bulk_beside=bulk_beside.tokens_per_second or 0,
        query_beside_eight=_times(eight),
        batch=_times(batch)[0],
    )


def _seen(found: Measured | None) -> Measured:
    assert found is not None, "a server has every cell"
    return found


def _both(found: tuple[Measured, Measured] | None) -> tuple[Measured, Measured]:
    assert found is not None, "a server has every cell"
    return found


def _times(found: Measured) -> tuple[float, float]:
    return found.p50 or float("inf"), found.p99 or float("inf")


def table(found: Sequence[Lanes]) -> str:
    """The table of medians over the rounds."""
    rows = []
    for system in dict.fromkeys(each.system for each in found):
        rounds = [each for each in found if each.system == system]

        def median(value: Callable[[Lanes], float], rounds: Sequence[Lanes] = rounds) -> float:
            return statistics.median(map(value, rounds))

        rows.append(
            (
                system,
                f"{1000 * median(lambda each: each.query_alone[0]):.1f}",
                f"{1000 * median(lambda each: each.query_alone[1]):.1f}",
                f"{1000 * median(lambda each: each.query_beside[0]):.1f}",
                f"{1000 * median(lambda each: each.query_beside[1]):.1f}",
                f"{1000 * median(lambda each: each.batch):.1f}",
                f"{median(lambda each: each.query_beside[1] / each.batch):.2f}",
                f"{median(lambda each: each.bulk_alone):,.0f}",
                f"{median(lambda each: each.bulk_beside / each.bulk_alone):.2f}",
            )
        )
    head = (
        *("system", "query alone: p50, ms", "p99", "query during bulk: p50", "p99", "one bulk request alone: p50, ms"),
        *("p99 during bulk / one bulk request", "bulk alone, tokens/s", "bulk with 8 query clients / bulk alone"),
    )
    return markdown_table(head, rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bench.lanes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--systems",
        type=lambda text: text.split(","),
        default=list(OURS),
        help="backends, each with optional flags (default: huggingface,vllm)",
    )
    parser.add_argument("--rounds", type=int, default=3, help="number of rounds (default: 3)")
    parser.add_argument("--seconds", type=float, default=4, help="seconds of each measurement (default: 4)")
    parser.add_argument("--warm-up", type=float, default=1, help="seconds of load before each measurement (default: 1)")
    parser.add_argument(
        "--dtype", choices=("float32", "float16"), default="float32", help="data type of the weights (default: float32)"
    )
    parser.add_argument(
        "-o", "--output", choices=("table", "json"), default="table", help="output format (default: table)"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
