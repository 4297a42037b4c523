"""Measures the operator at scale: one operator process from this checkout, against the API server of the kubeconfig.

No pods run: every service has replicas: 0. A proxy between operator and API server counts the requests; CPU time and
memory come from the kernel. The CRDs must be installed, and no other operator may run.

Examples:
  python -m bench.operator                              1,000 services, then 3,000: about half an hour
  python -m bench.operator --services 100 --idle-minutes 1
                                                        a quick look, in three minutes
  python -m bench.operator --phases create,restart      only the phases create and restart
  python -m bench.operator --foreign 20000              then again with 20,000 Secrets, ConfigMaps and pods
  python -m bench.operator -o json >run.json; python -m bench.operator --redraw run.json --write
                                                        keep the results; write them to docs/scale.md

Exit status: 0 if every range of bench/operator/ranges.yaml is met, 1 if one is missed, 2 if it could not measure, 130
after Ctrl-C. It always deletes the objects that it created; after Ctrl-C it prints the results so far.
"""

import argparse
import asyncio
import os
import platform
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import psutil
from kubernetes.aio.config import ConfigException

from bench.operator import table
from bench.operator.client import RequestFailed
from bench.operator.operator_process import OperatorEnded
from bench.operator.plan import PHASES, CannotMeasure, Plan, run
from bench.operator.ranges import FILE, judge, load
from bench.operator.results import Phase, Run
from bench.systems import ROOT

PAGE = ROOT / "docs/scale.md"

_EXPECTED = (CannotMeasure, OperatorEnded, RequestFailed, ConfigException, OSError)


def main() -> int:
    """The exit status."""
    args = _parser().parse_args()
    ranges = load(args.ranges)
    stopped = False
    if args.redraw:
        measured = Run.model_validate_json(args.redraw.read_text())
    else:
        started, done = datetime.now(UTC).isoformat(timespec="seconds"), list[Phase]()
        try:
            _measure(args, done)
        except (KeyboardInterrupt, asyncio.CancelledError):
            print("stopped: nothing that it made is left", file=sys.stderr)
            stopped = True
        except Exception as error:
            if not (told := [each for each in _leaves(error) if isinstance(each, _EXPECTED)]):
                raise
            for each in told:
                print(f"bench.operator: {each}", file=sys.stderr)
            return 2
        measured = Run(
            started=started, commit=_commit(), machine=_machine(), idle_minutes=args.idle_minutes, phases=tuple(done)
        )
    print(measured.model_dump_json(indent=1) if args.output == "json" else table.markdown(measured, ranges))
    missed = [each for each in judge(ranges, measured.phases) if not each.met]
    for each in missed:
        print(f"missed: {each}", file=sys.stderr)
    if stopped:
        return 130
    if args.write:
        PAGE.write_text(table.insert(PAGE.read_text(), table.markdown(measured, ranges)))
        print(f"{PAGE} is written", file=sys.stderr)
    return 1 if missed else 0


def _measure(args: argparse.Namespace, done: list[Phase]) -> None:
    with tempfile.TemporaryDirectory(prefix="bench-operator-") as directory:
        plan = Plan(
            kubeconfig=args.kubeconfig,
            directory=Path(directory),
            services=args.services,
            phases=("create", *args.phases),
            idle_minutes=args.idle_minutes,
            foreign=args.foreign,
            limit=args.limit,
            settings=dict(args.set),
        )
        asyncio.run(_until_signalled(plan, done))
        if args.keep_log:
            args.keep_log.write_bytes((Path(directory) / "operator.log").read_bytes())


async def _until_signalled(plan: Plan, done: list[Phase]) -> None:
    """asyncio cancels on SIGINT by itself: SIGTERM does the same."""
    task = asyncio.current_task()
    assert task
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    await run(plan, done)


def _leaves(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in _leaves(each)]
    return [error]


def _commit() -> str:
    def git(*arguments: str) -> str:
        argv = ("git", "-C", str(ROOT), *arguments)
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()  # noqa: S603 git's own

    changed = git("status", "--porcelain", "--untracked-files=no", "operator")
    return git("rev-parse", "--short=10", "HEAD") + (" with changes in operator/" if changed else "")


def _machine() -> str:
    models = re.findall(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = len(os.sched_getaffinity(0))
    memory = psutil.virtual_memory().total / 2**30
    return (
        f"{models[0] if models else platform.machine()}, {cores} cores shared with the cluster, the proxy and this "
        f"benchmark, {memory:.0f} GiB, Python {platform.python_version()}"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "bench.operator", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument(
        "--services",
        type=_growing,
        default=(1000, 3000),
        metavar="N,...",
        help="numbers of services, ascending (default: 1000,3000, which the ranges are for)",
    )
    parser.add_argument(
        "--phases",
        type=_some_of(PHASES),
        default=PHASES,
        metavar="PHASE,...",
        help=f"phases to run, from {', '.join(PHASES)} (default: all); create always runs",
    )
    parser.add_argument("--idle-minutes", type=float, default=10, help="minutes of the idle phase (default: 10)")
    parser.add_argument("--foreign", type=int, default=0, metavar="N", help="number of foreign objects (default: 0)")
    parser.add_argument("--limit", type=float, default=600, help="seconds that each wait may take (default: 600)")
    parser.add_argument(
        "--set",
        type=_setting,
        action="append",
        default=[],
        metavar="NAME=VALUE",
        help="a setting of the operator, without EMBEDDING_OPERATOR_; repeatable",
    )
    parser.add_argument(
        "--ranges", type=Path, default=FILE, help="file with the ranges (default: bench/operator/ranges.yaml)"
    )
    parser.add_argument("--kubeconfig", type=Path, default=os.environ.get("KUBECONFIG", Path.home() / ".kube/config"))
    parser.add_argument(
        "--keep-log", type=Path, metavar="FILE", help="copy the log of the last operator process to FILE"
    )
    parser.add_argument(
        "--redraw", type=Path, metavar="RUN.json", help="measure nothing; print the tables of this run again"
    )
    parser.add_argument("--write", action="store_true", help="also write the tables to docs/scale.md")
    parser.add_argument(
        "-o", "--output", choices=("markdown", "json"), default="markdown", help="output format (default: markdown)"
    )
    return parser


def _growing(text: str) -> tuple[int, ...]:
    numbers = tuple(int(number) for number in text.split(","))
    if numbers[0] < 1 or list(numbers) != sorted(set(numbers)):
        raise argparse.ArgumentTypeError(f"{text}: numbers from 1 on, each greater than the one before")
    return numbers


def _setting(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text}: write NAME=VALUE, such as WORKERS=8")
    return name.upper(), value


def _some_of(known: Sequence[str]) -> Callable[[str], tuple[str, ...]]:
    def parse(text: str) -> tuple[str, ...]:
        if unknown := set(text.split(",")) - set(known):
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; there are {', '.join(known)}")
        return tuple(name for name in known if name in text.split(","))

    return parse


if __name__ == "__main__":
    raise SystemExit(main())
