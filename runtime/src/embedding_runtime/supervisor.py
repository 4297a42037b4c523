"""The process that has the scheduler alone: it accepts connections for several frontends, and ends with any of them."""

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
"""Beside the grace period, for frontends to end by themselves."""

BURST = 64
"""Connections that are accepted before messages have their turn."""


class Acceptor:
    """Hands each accepted connection to the next frontend, over sockets that carry file descriptors."""

    def __init__(self, listener: socket.socket, receivers: Sequence[socket.socket]) -> None:
        self._listener, self._receivers = listener, receivers
        self._turns = itertools.cycle(receivers)
        for each in (listener, *receivers):
            each.setblocking(False)

    def start(self) -> None:
        """Accept from now on, on the running loop."""
        asyncio.get_running_loop().add_reader(self._listener, self._accept)

    def stop(self) -> None:
        """No new connections."""
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
            except OSError as error:  # the client is gone already, or there are too many open files
                _log.warning("a connection was not accepted: %s", error.strerror)
                return
            with connection:
                self._hand_over(connection)

    def _hand_over(self, connection: socket.socket) -> None:
        """To the next frontend that has room in its queue; to none where all are stuck."""
        for receiver in itertools.islice(self._turns, len(self._receivers)):
            try:
                socket.send_fds(receiver, [b"c"], [connection.fileno()])
            except (BlockingIOError, BrokenPipeError):
                continue
            return
        _log.warning("a connection was closed: no frontend takes it")


def supervise(
    args: ServeArgs,
    spec: ModelSpec,
    listener: socket.socket,
    workers: WorkerProcesses,
    *,
    frontends: Sequence[ChildProcess],
    receivers: Sequence[socket.socket],
) -> int:
    """Until a signal, or the loss of the workers or of a frontend. Exit code: 1, or KILLED when that was killed."""
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
    if lost.done() and not signals.asked_to_stop:
        code = await asyncio.to_thread(children[lost.result()].stop)
        how = "killed, most often for memory" if code == KILLED else f"exit code {code}"
        exit_code = KILLED if code == KILLED else 1
        engine.fail(f"frontend {lost.result()} ended unexpectedly: {how}", exit_code=exit_code)
    frontends.stop()
    try:
        async with asyncio.timeout(math.ceil(args.grace_period) + ENDING_SECONDS):
            await frontends.gone.wait()
    except TimeoutError:
        _log.warning("frontends did not end by themselves")
    engine.fail("the server has stopped")
    reason = await running
    await asyncio.to_thread(workers.stop)
    if signals.asked_to_stop:
        return 0
    _log.error("cannot serve %s: %s", args.model_name, reason)
    return engine.exit_code
