"""The front's process once its imports are done: engine, application and uvicorn on one loop, from start to exit."""

import asyncio
import contextlib
import functools
import gc
import logging
import math
import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import uvicorn
import uvloop

from embedding_runtime.contract import KILLED, ServeArgs
from embedding_runtime.frontend import memory
from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.auth import KeysFile
from embedding_runtime.frontend.connection import Connection
from embedding_runtime.frontend.connection_limits import ConnectionLimits, Connections
from embedding_runtime.frontend.draining import follow_drain_file
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.middleware.cors import CorsRules
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.launch import WorkerProcess
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import tracing
from embedding_runtime.scheduler.engine import Engine

__all__ = ["serve"]

_log = logging.getLogger(__name__)

ANSWERING_SECONDS = 2
"""After the grace period, for telling whoever still waits."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the pools of clients and proxies keep a connection, so that they close it, never both at once."""

STREAM_LIMIT = 2**24
"""Bytes that may lie unread between the worker and the loop: several batches of vectors."""


def serve(
    args: ServeArgs, spec: ModelSpec, listener: socket.socket, worker: WorkerProcess, *, keys: KeysFile | None
) -> int:
    """Serves until a signal or the worker's end. Exit code: 1 when the worker failed, KILLED when it was killed.

    Raises ModelRefused.
    """
    memory.return_large_blocks()
    tracing.configure(os.environ)
    tokenizer = TextTokenizer(spec)
    if (warning := tokenizer.check_ids(spec.vocabulary)) is not None:
        _log.warning("%s", warning)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(args, spec, tokenizer, listener, worker, keys=keys))


async def _serve(
    args: ServeArgs,
    spec: ModelSpec,
    tokenizer: TextTokenizer,
    listener: socket.socket,
    worker: WorkerProcess,
    *,
    keys: KeysFile | None,
) -> int:
    reader, writer = await asyncio.open_unix_connection(sock=worker.link, limit=STREAM_LIMIT)
    engine = Engine(reader, writer, max_waiting_tokens=args.max_waiting_tokens, stuck_after=args.stuck_after)
    engine.metrics.serving(args.model_name, args.backend, spec, worker=worker.process.pid)
    service = Service(
        args.model_name,
        args.backend,
        spec,
        tokenizer,
        engine,
        Limits.of(args),
        created=int(time.time()),
        aliases=args.model_aliases,
    )
    connections = Connections(ConnectionLimits.of(args), engine.metrics)
    config = uvicorn.Config(
        create_app(service, keys, CorsRules.of(args)),
        http=functools.partial(Connection, shared=connections),  # type: ignore[arg-type] # called as the class is
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=math.ceil(args.grace_period) + ANSWERING_SECONDS,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )
    # Bodies of a million small lists are read in a third of the time where the collector does not walk all of it.
    gc.freeze()
    gc.set_threshold(100_000, 50, 100)
    server = _Server(config, engine, args.grace_period)
    draining = asyncio.create_task(follow_drain_file(Path(args.drain_file), connections))
    talking = asyncio.create_task(engine.run())
    talking.add_done_callback(lambda _: server.stop())
    await server.serve(sockets=[listener])
    draining.cancel()
    writer.transport.abort()  # close() would first wait for a worker that hangs
    said = await talking
    code = await asyncio.to_thread(worker.stop)
    if server.asked_to_stop:
        return 0
    how = "killed, most often for memory" if code == KILLED else f"exit code {code}"
    _log.error("cannot serve %s: %s", args.model_name, said or f"the worker ended unexpectedly: {how}")
    return KILLED if code == KILLED else 1


class _Server(uvicorn.Server):
    """uvicorn, that ends with our exit code: its own handlers raise the signal again once it has drained."""

    def __init__(self, config: uvicorn.Config, engine: Engine, grace_period: float) -> None:
        super().__init__(config)
        self.asked_to_stop = False
        self._engine, self._grace_period = engine, grace_period

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._asked, signal.Signals(number).name)
        yield

    def stop(self) -> None:
        """No new connections; requests under way are finished."""
        self.should_exit = True

    def _asked(self, name: str) -> None:
        if self.asked_to_stop:
            self.force_exit = True  # asked twice: not even what is under way
        else:
            _log.info("%s: finishing what is under way or waits, up to %g s", name, self._grace_period)
            message = f"the server is stopping, and this was not done after {self._grace_period:g} s"
            asyncio.get_running_loop().call_later(self._grace_period, self._engine.fail, message)
        self.asked_to_stop = True
        self._engine.stop()
        self.stop()
