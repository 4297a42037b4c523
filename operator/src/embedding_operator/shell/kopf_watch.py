"""Watches that kopf runs, for as long as this process leads."""

import asyncio
from collections.abc import Callable, Sequence

import kopf
from kubernetes.aio.client import Configuration

from embedding_operator.errors import WatchesEnded
from embedding_operator.kinds import Kind
from embedding_operator.settings import Settings
from embedding_operator.shell import connect, handlers
from embedding_operator.shell.store import Store

__all__ = ["watch_with_kopf"]


async def watch_with_kopf(
    kinds: Sequence[Kind],
    store: Store,
    *,
    on_relist: Callable[[Kind], object],
    configuration: Configuration,
    settings: Settings,
    started: Callable[[], object],
) -> None:
    """Never returns. `started` is called when kopf has put its own signal handlers in place of ours.

    Raises WatchesEnded when kopf gives up.
    """
    end = asyncio.Event()
    tasks = await kopf.spawn_tasks(
        stop_flag=end,
        registry=handlers.registry(kinds, store, on_relist, connect.kopf_login(configuration)),
        settings=handlers.kopf_settings(settings),
        clusterwide=not settings.namespaces,
        namespaces=settings.namespaces,
    )
    started()
    running = asyncio.create_task(kopf.run_tasks(tasks, ignored=_AllTasks()), name="kopf's tasks")
    try:
        await asyncio.shield(running)
    except asyncio.CancelledError:
        end.set()  # cancelled, kopf would not close its connections
        await running
        raise
    raise WatchesEnded("kopf's watches of the API server ended")


class _AllTasks(frozenset[asyncio.Task[object]]):
    """Keep kopf from cancelling every other task of the process when it ends. It stops its own tasks without that; the
    others are ours, such as the one that releases the Lease.
    """

    def __contains__(self, _: object) -> bool:
        return True
