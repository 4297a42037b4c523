"""The operator as a process: from settings to an exit status."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

from kubernetes.aio.client import Configuration

from embedding_operator.constants import GROUP, VERSION
from embedding_operator.errors import ClusterFault, Fault, LeaseLost
from embedding_operator.kinds import RESOURCES
from embedding_operator.settings import Settings
from embedding_operator.shell import connect, logs
from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock, sleep
from embedding_operator.shell.connection import Connection, open_connection
from embedding_operator.shell.health import serve_health
from embedding_operator.shell.leader import Leader, LeaseConfig
from embedding_operator.shell.metrics import Metrics
from embedding_operator.shell.term import Term

__all__ = ["Process", "main"]

_log = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds between two looks for the custom resources


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT: 0. Whatever else ends it is logged: 1, for the kubelet to start it anew."""
    logs.set_up(settings)
    return asyncio.run(_until_stopped(settings))


async def _until_stopped(settings: Settings) -> int:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    process = Process(settings)
    try:
        configuration = await connect.load()
        async with serve_health(
            settings.health_port, process.metrics, healthy=process.unhealthy, ready=process.not_ready
        ):
            await process.operate(configuration, stop)
    except Exception as error:  # noqa: BLE001 the last catch: every cause in the log, then the exit status
        for cause in _leaves(error):
            _log.critical("ending: %s", cause, exc_info=None if isinstance(cause, Fault | OSError) else cause)
        return 1
    _log.info("stopped")
    return 0


class Process:
    """One candidate for the lead, and the leader when it is elected."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self._leader: Leader | None = None
        self._term: Term | None = None
        self._has_resources = False

    async def operate(self, configuration: Configuration, stop: asyncio.Event) -> None:
        """Stand by and lead, in turns, until `stop` is set. Raises whatever else ends the work."""
        async with open_connection(configuration) as connection:
            work = asyncio.create_task(self._work(connection, configuration, stop), name="operator")
            stopped = asyncio.create_task(stop.wait(), name="stop")
            try:
                await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                stopped.cancel()
                work.cancel()  # a reconcile that is cut here is the next leader's first
                await asyncio.wait({work, stopped})
            if not work.cancelled():
                work.result()

    def unhealthy(self) -> str | None:
        """Why the process should be started anew; None: it works."""
        return self._term.problem() if self._term else None

    def not_ready(self) -> str | None:
        """Why this process can neither lead nor stand by; None: it can."""
        leader, clock = self._leader, asyncio.get_running_loop()
        if not self._has_resources or leader is None:
            return "the API server has not been reached yet, or the CRDs are not installed"
        oldest = clock.time() - 2 * self._settings.lease_seconds
        if leader.heard_at is None or leader.heard_at < oldest:
            return "the Lease cannot be read"
        return None

    async def _work(self, connection: Connection, configuration: Configuration, stop: asyncio.Event) -> None:
        settings, count = self._settings, self.metrics.called
        clock: Clock = asyncio.get_running_loop()
        config = LeaseConfig(
            namespace=settings.lease_namespace,
            name=settings.lease_name,
            me=f"{socket.gethostname()}_{os.urandom(4).hex()}",
            duration=settings.lease_seconds,
        )
        lease_client = Client(connection, timeout_seconds=config.pause, count=count)
        leader = self._leader = Leader(lease_client, config, clock, _now)
        client = Client(
            connection,
            timeout_seconds=settings.request_timeout_seconds,
            seconds_left=leader.seconds_left,
            count=count,
        )
        await self._wait_for_resources(client, clock)

        def new_term() -> Term:
            return Term(
                client,
                configuration,
                settings,
                clock,
                leading=leader.leading,
                is_leading=leader.leads,
                metrics=self.metrics,
                now=_now,
                after_kopf_started=lambda: _stop_on_signals(stop),  # kopf has just put its own in their place
            )

        while True:
            await self._lead(leader, new_term)

    async def _lead(self, leader: Leader, new_term: Callable[[], Term]) -> None:
        """Wait for the Lease, and work until another has it. The lists, which take long where there are thousands of
        services, begin when the Lease is about to become free; nothing is written before it is ours.
        """
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(_acquire_and_hold(leader), name="lease")
                await leader.soon.wait()
                self._term = self.metrics.state = new_term()
                group.create_task(self._term.run(), name="term")
        except* LeaseLost as lost:
            for cause in _leaves(lost):
                _log.warning("standing by: %s", cause)
        finally:
            self._term = self.metrics.state = None
            await leader.release()

    async def _wait_for_resources(self, client: Client, clock: Clock) -> None:
        """kopf discovers its kinds once, at its start: wait until the API server serves them."""
        while True:
            try:
                missing = {kind.plural for kind in RESOURCES} - await client.served(GROUP, VERSION)
                if not missing:
                    self._has_resources = True
                    return
                _log.warning("the API server does not know %s yet: install the CRDs", ", ".join(sorted(missing)))
            except ClusterFault as fault:
                _log.warning("%s", fault)
            await sleep(clock, _PAUSE)


async def _acquire_and_hold(leader: Leader) -> None:
    await leader.acquire()
    await leader.hold()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _now() -> datetime:
    return datetime.now(UTC)
