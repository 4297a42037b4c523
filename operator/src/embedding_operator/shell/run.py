"""The operator as a process: from settings to an exit status."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Iterable
from datetime import UTC, datetime

import kopf
from kubernetes.aio.client import ApiClient, Configuration

from embedding_operator.core.snapshot import ObjectRef
from embedding_operator.errors import ClusterFault, OperatorFault, WatchesEnded
from embedding_operator.settings import Settings
from embedding_operator.shell import connect, handlers, logs
from embedding_operator.shell.client import Api
from embedding_operator.shell.clock import Clock, sleep
from embedding_operator.shell.cluster import Cluster
from embedding_operator.shell.controller import Controller
from embedding_operator.shell.health import serve_health
from embedding_operator.shell.leader import Leader, Terms
from embedding_operator.shell.queue import Backoff, WorkQueue
from embedding_operator.shell.reconcile import RESYNC, Reconciler

__all__ = ["main", "operate"]

_log = logging.getLogger(__name__)

_PAUSE = 5.0  # seconds between two looks for the custom resources


def main(settings: Settings) -> int:
    """Run until SIGTERM or SIGINT: 0. Whatever else ends it is logged: 1, for the kubelet to start it anew."""
    logs.set_up(settings)
    return asyncio.run(_until_stopped(settings))


async def _until_stopped(settings: Settings) -> int:
    stop = asyncio.Event()
    _stop_on_signals(stop)
    try:
        configuration = await connect.load()
        async with serve_health(settings.health_port):
            await operate(settings, configuration, stop)
    except Exception as error:  # noqa: BLE001 the last catch: every cause in the log, then the exit status
        for cause in _leaves(error):
            _log.critical("ending: %s", cause, exc_info=None if isinstance(cause, OperatorFault | OSError) else cause)
        return 1
    _log.info("stopped")
    return 0


async def operate(settings: Settings, configuration: Configuration, stop: asyncio.Event) -> None:
    """Wait for the Lease and work until `stop` is set. Raises whatever else ends the work."""
    async with ApiClient(configuration) as client:
        work = asyncio.create_task(_lead(settings, client, stop), name="operator")
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait({work, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            work.cancel()  # a reconcile that is cut here is the next leader's first
            await asyncio.wait({work, stopped})
        if not work.cancelled():
            work.result()


async def _lead(settings: Settings, client: ApiClient, stop: asyncio.Event) -> None:
    clock: Clock = asyncio.get_running_loop()
    terms = Terms(
        namespace=settings.lease_namespace,
        name=settings.lease_name,
        me=f"{socket.gethostname()}_{os.urandom(4).hex()}",
        duration=settings.lease_seconds,
    )
    leader = Leader(Api(client, timeout_seconds=terms.pause), terms, clock, _now)
    api = Api(client, timeout_seconds=settings.request_timeout_seconds, may_write=leader.leads)
    cluster = Cluster(api, settings, _now)
    queue: WorkQueue[ObjectRef] = WorkQueue(clock, Backoff())
    reconciler = Reconciler(cluster, settings, _now, queue.add)
    controller = Controller(queue, reconciler, workers=settings.workers)
    queue.add_later(RESYNC, settings.resync_seconds)  # until then kopf tells, which begins with a list of all
    await leader.acquire()
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(leader.hold(), name="lease")
            await _wait_for_resources(cluster, clock)
            group.create_task(controller.run(), name="controller")
            group.create_task(_watch(settings, client.configuration, queue, stop), name="watches")
    finally:
        await leader.release()


async def _wait_for_resources(cluster: Cluster, clock: Clock) -> None:
    """kopf looks once for the kinds that it watches: until they are there, it must not start."""
    while True:
        try:
            if not (missing := await cluster.missing_resources()):
                return
            _log.warning("the API server does not know %s yet: install the CRDs", ", ".join(missing))
        except ClusterFault as fault:
            _log.warning("%s", fault)
        await sleep(clock, _PAUSE)


async def _watch(
    settings: Settings, configuration: Configuration, queue: WorkQueue[ObjectRef], stop: asyncio.Event
) -> None:
    end = asyncio.Event()
    tasks = await kopf.spawn_tasks(
        stop_flag=end,
        registry=handlers.registry(queue.add, connect.kopf_login(configuration)),
        settings=handlers.kopf_settings(settings),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
    _stop_on_signals(stop)  # kopf has just put its own in their place
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_AllTasks()), name="kopf")
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        end.set()  # cancelled, kopf would not close its connections
        await running
        raise
    raise WatchesEnded("the watches of the API server ended")


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)


class _AllTasks(frozenset[asyncio.Task[object]]):
    """kopf, when it ends, cancels every task of the process that is not in a set it is given. It has no need to: it
    stops its own without that, and the others are ours, such as the one that gives the Lease back.
    """

    def __contains__(self, _: object) -> bool:
        return True


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from _leaves(part)
    else:
        yield error


def _now() -> datetime:
    return datetime.now(UTC)
