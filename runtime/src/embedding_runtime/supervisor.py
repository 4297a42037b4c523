"""The scheduler's process with several frontends: it accepts connections for them, and exits if one of them does."""

import asyncio
import itertools
import logging
import math
import socket
from collections.abc import Sequence
from typing import Any

import uvloop

from embedding_runtime.contract import KILLED, ServeArgs
from embedding_runtime.launch import ChildProcess, WorkerProcesses
from embedding_runtime.model import ModelSpec
from embedding_runtime.scheduler.engine import Engine
from embedding_runtime.scheduler.frontends import Frontends
from embedding_runtime.scheduler.signals import StopSignals

__all__ = ["Acceptor", "supervise"]

_log = logging.getLogger(__name__)

ENDING_SECONDS = 5
"""Time for frontends to exit, in addition to the grace period."""

BURST = 64
"""Connections accepted before other events are handled."""


class Acceptor:
    """Hands each accepted connection to the next frontend, over sockets that carry file descriptors."""

    def __init__(self, listener: socket.socket, receivers: Sequence[socket.socket]) -> None:
        self._listener, self._receivers = listener, receivers
        self._turns = itertools.cycle(receivers)
        for each in (listener, *receivers):
            each.setblocking(False)

    def start(self) -> None:
        """Start accepting on the running loop."""
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """Stop accepting."""
        asyncio.get_running_loop().remove_reader(self._listener)
        self._listener.close()
        for receiver in self._receivers:
            receiver.close()

    def _accept(self) -> None:
        for _ in range(BURST):
            try:
                connection, _ = self._listener.accept()
            except BlockingIOError:
                return
            except OSError as error:  # the client has disconnected, or too many files are open
                _log.warning("cannot accept a connection: %s", error.strerror)
                return
            with connection:
                self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        """Send a connection to the next frontend whose socket buffer is not full, if there is one."""
        for receiver in itertools.islice(self._turns, len(self._receivers)):
            try:
                socket.send_fds(receiver, [b"c"], [connection.fileno()])
            except (BlockingIOError, BrokenPipeError):
                continue
            return
        _log.warning("closed a connection: every frontend's backlog is full")


def supervise(
    args: ServeArgs,
    spec: ModelSpec,
    listener: socket.socket,
    workers: WorkerProcesses,
    *,
    frontends: Sequence[ChildProcess],
    receivers: Sequence[socket.socket],
) -> int:
    """Run until a signal, or until all workers or a frontend are lost. Exit code: 0, 1, or KILLED."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(_supervise(args, spec, Acceptor(listener, receivers), workers, frontends))


async def _supervise(
    args: ServeArgs,
    spec: ModelSpec,
    acceptor: Acceptor,
    workers: WorkerProcesses,
    children: Sequence[ChildProcess],
) -> int:
    engine = Engine(max_waiting_tokens=args.max_waiting_tokens, stuck_after=args.stuck_after)
    engine.metrics.serving(args.model_name, args.backend, spec, workers=lambda: workers.pids)
    frontends = Frontends(engine)
    signals = StopSignals(engine, args.grace_period, frontends.stop)
    lost = await frontends.connect([child.link for child in children])
    running = asyncio.create_task(engine.run(workers))
    frontends.all_serve.add_done_callback(lambda _: acceptor.start())
    ends: list[asyncio.Future[Any]] = [running, lost, frontends.stopping]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    acceptor.stop()
    if lost.done() and not signals.stop_requested:
        code = await asyncio.to_thread(children[lost.result()].stop)
        how = "killed, most likely out of memory" if code == KILLED else f"exit code {code}"
        exit_code = KILLED if code == KILLED else 1
        engine.fail(f"frontend {lost.result()} ended unexpectedly: {how}", exit_code=exit_code)
    frontends.stop()
    try:
        async with asyncio.timeout(math.ceil(args.grace_period) + ENDING_SECONDS):
            await frontends.gone.wait()
    except TimeoutError:
        _log.warning("killing frontends that did not stop in time")
    engine.fail("the server has stopped")
    reason = await running
    await asyncio.to_thread(workers.stop)
    if signals.stop_requested:
        return 0
    _log.error("cannot serve %s: %s", args.model_name, reason)
    return engine.exit_code
