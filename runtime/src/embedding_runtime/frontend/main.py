"""The process of one of several frontends, which serves connections that the supervisor accepts.

`launch` starts it as `python -m embedding_runtime.frontend.main FD CONNECTIONS SHARE FLAGS`: the file descriptors of
its ends of two socketpairs, to the scheduler and for connections; its number and the number of frontends as JSON.
"""

import asyncio
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import uvloop

from embedding_runtime.contract import ServeArgs
from embedding_runtime.frontend.auth import BadKeys, KeysFile
from embedding_runtime.frontend.server import FrontendServer, load_tokenizer
from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.observability import logs, tracing
from embedding_runtime.scheduler.remote import RemoteScheduler

__all__ = ["main"]

_log = logging.getLogger("embedding_runtime.frontend.main")

BURST = 64
"""Connections received before other events are handled."""


def main(argv: Sequence[str]) -> int:
    """Run the process and return the exit code."""
    end, connections = (socket.socket(fileno=int(number)) for number in argv[:2])
    args = ServeArgs.from_argv(argv[3:])
    logs.configure(args.log_format, access_log=args.access_log, sees_texts=True)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the supervisor decides when to stop
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_serve(args, json.loads(argv[2]), end, connections))
    except (BadKeys, ModelRefused) as refused:
        _log.error("cannot serve %s: %s", args.model_name, refused)
        return 1
    return 0


async def _serve(args: ServeArgs, share: Mapping[str, int], end: socket.socket, connections: socket.socket) -> None:
    tracing.configure(os.environ)
    spec = ModelSpec.asked_for(args)
    tokenizer = load_tokenizer(args, spec, warns=share["number"] == 0)
    keys = None if args.api_keys_file is None else KeysFile(Path(args.api_keys_file), time.monotonic())
    scheduler = RemoteScheduler(lambda *, now=False: server.stop(now=now))
    server = FrontendServer(
        args, spec, tokenizer, scheduler, keys, created=share["created"], divided_by=share["frontends"]
    )
    receiver = _Receiver(connections, server)
    await scheduler.connect(end)
    scheduler.closed.add_done_callback(lambda _: server.stop())

    def started() -> None:
        receiver.start()
        scheduler.serving()

    await server.run([], started)


class _Receiver:
    """Receives connections from the supervisor."""

    def __init__(self, source: socket.socket, server: FrontendServer) -> None:
        source.setblocking(False)
        self._source, self._server = source, server
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        asyncio.get_running_loop().add_reader(self._source, self._receive)

    def _receive(self) -> None:
        for _ in range(BURST):
            try:
                data, numbers, _, _ = socket.recv_fds(self._source, 1, 1)
            except BlockingIOError:
                return
            if not data:  # the supervisor has stopped accepting
                asyncio.get_running_loop().remove_reader(self._source)
                return
            for number in numbers:
                connection = socket.socket(fileno=number)
                connection.setblocking(False)
                task = asyncio.create_task(self._server.accepted(connection))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
