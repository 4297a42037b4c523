"""`python -m embedding_runtime serve FLAGS`, or `check DIR`.

Exit code 2: invalid flags; 1: the model cannot be served.
"""

import os
import signal

if __name__ == "__main__":
    # Set before the other imports, which take 0.3 s: the first process of a container ignores signals without a
    # handler. Workers exit with this process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os._exit(0))

import logging
import shutil
import socket
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from embedding_runtime.contract import BackendName, ContractError, ServeArgs
from embedding_runtime.frontend.auth import BadKeys, KeysFile
from embedding_runtime.frontend.listening import listen
from embedding_runtime.launch import ChildProcess, WorkerProcesses, start_frontend, weights_bytes
from embedding_runtime.machine import detect, divide
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.observability import logs
from embedding_runtime.worker.backends.choice import choose

__all__ = ["main"]

_log = logging.getLogger("embedding_runtime")

EXAMPLE = """
Flags may be written with - or _ (--model-name or --model_name). Start a server:

  python -m embedding_runtime serve --model_dir=/mnt/models --model_name=sentence-transformer --backend=huggingface

Send a request to it:

  curl http://127.0.0.1:8080/openai/v1/embeddings -H 'Content-Type: application/json' \\
    -d '{"model": "sentence-transformer", "input": "This is an example sentence for embedding generation."}'

See whether a model can be served, how, and how exactly, without a server:

  python -m embedding_runtime check /mnt/models
"""


def main(argv: Sequence[str]) -> int:
    """Run the command and return the exit code."""
    command, *flags = argv or ["--help"]
    if command == "check":
        from embedding_runtime.check import check  # noqa: PLC0415 it is no part of a server

        return check(flags)
    if command != "serve" or {"-h", "--help"} & set(flags):
        return _help(requested=command in {"serve", "-h", "--help"})
    try:
        args = ServeArgs.from_argv(flags)
    except ContractError as error:
        for problem in error.problems:
            sys.stderr.write(f"embedding_runtime serve: {problem}\n")
        return 2
    logs.configure(args.log_format, access_log=args.access_log, sees_texts=True)
    try:
        return _serve(args)
    except ModelRefused as refused:
        _log.error("cannot serve %s: %s", args.model_name, refused)
    except BadKeys as bad:
        _log.error("cannot use --api_keys_file: %s", bad)
    return 1


def _serve(args: ServeArgs) -> int:
    spec = ModelSpec.from_args(args)
    choice = choose(args, spec)
    if args.backend is BackendName.AUTO:
        _log.info("backend: %s (%s)", choice.backend, choice.reason)
    keys = None if args.api_keys_file is None else KeysFile(Path(args.api_keys_file), time.monotonic())
    try:
        listener = listen(args.host, args.http_port)
    except OSError as error:
        _log.error("cannot listen on %s:%d: %s", args.host, args.http_port, error.strerror)
        return 1
    with listener:
        machine = detect()
        loads = args.model_copy(update={"backend": choice.backend})
        layout = divide(loads, machine, weights_bytes(Path(args.model_dir)))
        scratch = _scratch()
        workers = WorkerProcesses(args, {"choice": asdict(choice), "scratch": scratch}, layout, machine)
        try:
            _log.info("listening on http://%s:%d; loading %s", args.host, args.http_port, args.model_name)
            if layout.frontends > 1:
                return _serve_apart(args, spec, listener, workers, layout.frontends)
            # Imported here, while the workers run their own imports, which take longer.
            from embedding_runtime.frontend.server import serve  # noqa: PLC0415

            return serve(args, spec, listener, workers, keys=keys)
        finally:
            workers.stop()
            _remove(scratch)


def _scratch() -> str | None:
    """Path of a directory that workers may create for converted files of the model; None if there is none."""
    try:
        path = Path(tempfile.gettempdir(), f"embedding-runtime-{os.getuid()}-{os.getpid()}")
    except OSError:
        return None
    _remove(str(path))  # the first process of a container has the same pid after each restart
    return str(path)


def _remove(scratch: str | None) -> None:
    if scratch is not None:
        shutil.rmtree(scratch, ignore_errors=True)


def _serve_apart(
    args: ServeArgs, spec: ModelSpec, listener: socket.socket, workers: WorkerProcesses, count: int
) -> int:
    """Run several frontends. This process has only the scheduler."""
    children: list[ChildProcess] = []
    receivers: list[socket.socket] = []
    try:
        for number in range(count):
            ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            receivers.append(ours)
            with theirs:
                share = {"number": number, "frontends": count, "created": int(time.time())}
                children.append(start_frontend(args, theirs, share))
        from embedding_runtime.supervisor import supervise  # noqa: PLC0415 as above

        return supervise(args, spec, listener, workers, frontends=children, receivers=receivers)
    finally:
        for end in (*(child.link for child in children), *receivers):
            end.close()
        for child in children:
            child.stop()


def _help(*, requested: bool) -> int:
    parser = ServeArgs.parser()
    parser.prog = "python -m embedding_runtime serve"
    parser.description = (
        "Serve one embedding model or cross-encoder over HTTP, with the APIs of OpenAI, Cohere, TEI, vLLM and Open "
        "Inference."
    )
    out = sys.stdout if requested else sys.stderr
    out.write(parser.format_help() + EXAMPLE)
    return 0 if requested else 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
