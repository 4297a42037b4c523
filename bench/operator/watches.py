"""Feeds a Fleet from the API server directly, not through the proxy."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from bench.operator.client import Client
from bench.operator.fleet import Fleet
from bench.operator.generator import LABEL, SERVICES

__all__ = ["feed"]

_WATCHED: tuple[tuple[str, str, dict[str, str]], ...] = (
    ("EmbeddingService", SERVICES, {"labelSelector": LABEL}),
    ("Deployment", "/apis/apps/v1/deployments", {}),
    ("Service", "/api/v1/services", {}),
)


@asynccontextmanager
async def feed(fleet: Fleet, client: Client) -> AsyncIterator[None]:
    """A context in which the watches run. A failing watch cancels its body."""
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_follow(fleet, client, *each)) for each in _WATCHED]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()


async def _follow(fleet: Fleet, client: Client, kind: str, path: str, query: dict[str, str]) -> None:
    while True:  # a watch without a resource version begins with all that is there: nothing is missed between two
        async for line in client.watch(path, **query):
            event = json.loads(line)
            if event["type"] == "ERROR":  # the server has ended it: begin again
                break
            fleet.see(kind, event["type"], event["object"], line)
