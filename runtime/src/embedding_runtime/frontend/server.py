"""A frontend: the application and uvicorn on an event loop, with the scheduler if there is only one frontend."""

import asyncio
import contextlib
import functools
import gc
import logging
import math
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn
import uvloop

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.frontend import memory
from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.auth import KeysFile
from embedding_runtime.frontend.connection import Connection
from embedding_runtime.frontend.connection_limits import ConnectionLimits, Connections
from embedding_runtime.frontend.draining import follow_drain_file
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.middleware.cors import CorsRules
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.launch import WorkerProcesses
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer
from embedding_runtime.observability import tracing
from embedding_runtime.scheduler.base import Scheduler
from embedding_runtime.scheduler.engine import Engine
from embedding_runtime.scheduler.signals import StopSignals

__all__ = ["FrontendServer", "load_tokenizer", "serve"]

_log = logging.getLogger(__name__)

ANSWERING_SECONDS = 2
"""Time after the grace period to answer the remaining requests."""

KEEP_ALIVE_SECONDS = 75
"""Longer than the keep-alive of common clients and proxies, so that these close idle connections, not the server."""


def serve(
    args: ServeArgs, spec: ModelSpec, listener: socket.socket, workers: WorkerProcesses, *, keys: KeysFile | None
) -> int:
    """Run frontend and scheduler in this process until a signal or the loss of all workers.

    Returns the exit code: 1 if a worker failed, KILLED if it was killed. Raises ModelRefused.
    """
    memory.return_large_blocks()
    tracing.configure(os.environ)
    tokenizer = load_tokenizer(args, spec)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_serve(args, spec, tokenizer, listener, workers, keys=keys))


def load_tokenizer(args: ServeArgs, spec: ModelSpec, *, warns: bool = True) -> TextTokenizer:
    """Load the tokenizer, and warn of tokens without weights. Raises ModelRefused.

    If the model has no tokenizer.json, the worker creates one or refuses the model.
    """
    if args.backend is not BackendName.FAKE and not spec.tokenizer_file.is_file():
        return TextTokenizer(spec, reads=False)
    tokenizer = TextTokenizer(spec)
    if (warning := tokenizer.check_ids(spec.vocabulary)) is not None and warns:
        _log.warning("%s", warning)
    return tokenizer


async def _serve(
    args: ServeArgs,
    spec: ModelSpec,
    tokenizer: TextTokenizer,
    listener: socket.socket,
    workers: WorkerProcesses,
    *,
    keys: KeysFile | None,
) -> int:
    engine = Engine(max_waiting_tokens=args.max_waiting_tokens, stuck_after=args.stuck_after)
    engine.metrics.serving(args.model_name, args.backend, spec, workers=lambda: workers.pids)
    server = FrontendServer(args, spec, tokenizer, engine, keys, created=int(time.time()))
    signals = StopSignals(engine, args.grace_period, server.stop)
    talking = asyncio.create_task(engine.run(workers))
    talking.add_done_callback(lambda _: server.stop())
    await server.run([listener])
    engine.fail("the server has stopped")
    reason = await talking
    await asyncio.to_thread(workers.stop)
    if signals.stop_requested:
        return 0
    _log.error("cannot serve %s: %s", args.model_name, reason)
    return engine.exit_code


SWITCH_SECONDS = 0.001
"""Python's switch interval: how long a thread that parses or serializes something large blocks the event loop.

Python's default is five times as long, and a probe waits for several of them."""


class FrontendServer:
    """The application and its connections, on the running event loop."""

    def __init__(
        self,
        args: ServeArgs,
        spec: ModelSpec,
        tokenizer: TextTokenizer,
        scheduler: Scheduler,
        keys: KeysFile | None,
        *,
        created: int,
        divided_by: int = 1,
    ) -> None:
        """`created`: start time of the server. `divided_by`: number of frontends, which share the limits."""
        service = Service(
            args.model_name,
            args.backend,
            spec,
            tokenizer,
            scheduler,
            Limits.of(args, divided_by),
            created=created,
            aliases=args.model_aliases,
        )
        self._tokenizer, self._scheduler = tokenizer, scheduler
        self._created_tokenizer: str | None = None
        scheduler.followers.append(self._follow)
        self._connections = Connections(ConnectionLimits.of(args, divided_by), scheduler.metrics)
        self._drain_file = Path(args.drain_file)
        config = uvicorn.Config(
            create_app(service, keys, CorsRules.of(args)),
            http=functools.partial(Connection, shared=self._connections),  # type: ignore[arg-type] # called as the class is
            ws="none",
            lifespan="off",
            access_log=False,
            log_config=None,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=math.ceil(args.grace_period) + ANSWERING_SECONDS,
            timeout_keep_alive=KEEP_ALIVE_SECONDS,
        )
        self._server = _Server(config)

    def _follow(self) -> None:
        """Switch to the tokenizer that the worker has created, if it has. Nothing has been tokenized before."""
        model = self._scheduler.model
        created = None if model is None else model.tokenizer
        if created is not None and created != self._created_tokenizer:
            self._tokenizer.read(Path(created))
            self._created_tokenizer = created

    async def run(self, listeners: list[socket.socket], started: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`. Calls `started` once connections are accepted."""
        self._server.has_started = started
        # Parsing a body of a million small lists takes a third of the time with fewer garbage collections.
        gc.freeze()
        gc.set_threshold(100_000, 50, 100)
        sys.setswitchinterval(SWITCH_SECONDS)
        draining = asyncio.create_task(follow_drain_file(self._drain_file, self._connections))
        await self._server.serve(sockets=listeners)
        draining.cancel()

    async def accepted(self, connection: socket.socket) -> None:
        """Serve a connection that another process has accepted."""
        await asyncio.get_running_loop().connect_accepted_socket(self._server.new_connection, connection)

    def stop(self, *, now: bool = False) -> None:
        """Stop accepting. Running requests are finished, unless `now`."""
        self._server.should_exit = True
        self._server.force_exit |= now  # a later graceful stop does not undo it


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which raise the signal again after draining."""

    has_started: Callable[[], None]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn."""
        await super().startup(sockets)
        self.has_started()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def new_connection(self) -> asyncio.Protocol:
        """Create a protocol, as `startup` does."""
        make: Any = self.config.http_protocol_class
        connection: asyncio.Protocol = make(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )
        return connection
