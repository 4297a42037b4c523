"""The command line: one subcommand a module of this package, loaded when it is called."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from pydantic import ValidationError
from pydantic_settings import SettingsError

from embedding_operator.resources.words import in_words
from embedding_operator.settings import Settings

__all__ = ["main"]

_PREFIX = "EMBEDDING_OPERATOR_"

_EXAMPLES = """examples:
  embedding-operator render -f service.yaml -f storage.yaml | kubectl apply -f -
  kubectl get emb embedding-model -o yaml | embedding-operator render -f -
  embedding-operator local -f service.yaml --port 8080
  embedding-operator check -f service.yaml
  embedding-operator crds | kubectl apply -f -

settings of run and render come from environment variables, such as EMBEDDING_OPERATOR_RUNTIME_IMAGES='{"cpu": "..."}'.
"""


_CHECK_EXAMPLES = """examples:
  embedding-operator check -f service.yaml
  embedding-operator check -f service.yaml -f storage.yaml -o json
  embedding-operator check -f service.yaml --model-dir ./all-MiniLM-L6-v2

exit status: 0 if all services can be served, else 1. Too little memory is reported, but does not change it.
A token comes from a Secret in the files, or from the variable that is named like its key, such as HF_TOKEN.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """The exit code."""
    args = _parser().parse_args(argv)
    command: Callable[[argparse.Namespace], int] = args.command
    try:
        return command(args)
    except BrokenPipeError:  # the reader closed the pipe, as `head` does
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except ValidationError as error:  # of Settings: all else that pydantic reads says its problems itself
        for problem in in_words(error, Settings):
            name = problem.partition(":")[0].partition(".")[0]
            print(f"{_PREFIX}{name.upper()}{problem.removeprefix(name)}", file=sys.stderr)
        return 2
    except SettingsError as error:  # a value that is no JSON
        print(f"settings ({_PREFIX}*): {error}: {error.__cause__}", file=sys.stderr)
        return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="embedding-operator",
        description="Turns EmbeddingService resources into running embedding endpoints.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    run = commands.add_parser("run", help="reconcile the services of the cluster that this process can reach")
    run.set_defaults(command=_run)

    local = commands.add_parser("local", help="serve on this machine, without a cluster, until Ctrl-C")
    _takes_files(local)
    local.add_argument("--host", default="127.0.0.1", help="address to listen on (default: %(default)s)")
    local.add_argument("--port", type=int, default=8080, help="port of the first service (default: %(default)s)")
    local.set_defaults(command=_local)

    check = commands.add_parser(
        "check",
        help="check whether the models of services can be served, and with how much memory; needs no cluster",
        description="Download the model of each service as its pod would, load it here with the flags of its server, "
        "compare its vectors with those of sentence-transformers, and compare the memory that it takes with "
        "spec.resources. Takes seconds to minutes, on this machine's CPUs or GPUs.",
        epilog=_CHECK_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _takes_files(check)
    check.add_argument(
        "--model-dir", type=Path, metavar="DIR", help="directory with the model's files: nothing is downloaded"
    )
    check.add_argument("-o", "--output", choices=("table", "json"), default="table", help="output format")
    check.set_defaults(command=_check)

    render = commands.add_parser("render", help="print the objects that would be applied; needs no cluster")
    _takes_files(render)
    render.set_defaults(command=_render)

    crds = commands.add_parser("crds", help="print the CustomResourceDefinitions")
    where = crds.add_mutually_exclusive_group()
    where.add_argument("--write", type=Path, metavar="CHECKOUT", help="write them into a checkout of the project")
    where.add_argument("--check", type=Path, metavar="CHECKOUT", help="fail if those of a checkout are stale")
    crds.set_defaults(command=_crds)
    return parser


def _takes_files(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "-f",
        dest="files",
        action="append",
        required=True,
        type=Path,
        metavar="FILE",
        help="manifests of services, storage containers and Secrets, in any mix; - is standard input; may be repeated",
    )


def _run(_args: argparse.Namespace) -> int:
    from embedding_operator.cli import run

    return run.main(Settings())


def _local(args: argparse.Namespace) -> int:
    from embedding_operator.cli import local

    return local.main(args.files, host=args.host, port=args.port)


def _check(args: argparse.Namespace) -> int:
    from embedding_operator.cli import check

    return check.main(args.files, args.model_dir, args.output)


def _render(args: argparse.Namespace) -> int:
    from embedding_operator.cli import render

    return render.main(args.files, Settings())


def _crds(args: argparse.Namespace) -> int:
    from embedding_operator.cli import crds

    if args.write:
        return crds.write(args.write)
    return crds.check(args.check) if args.check else crds.show()
