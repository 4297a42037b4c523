"""Keeps the store up to date for one kind: a paged list, then a watch from there.

kopf does the same and keeps the last body of each object, a queue and a task: 24 KB an EmbeddingService (measured with
3,000 of them), where the store keeps 2 KB. So kopf watches only kinds with few objects.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from embedding_operator.errors import ClusterFault, Expired
from embedding_operator.kinds import Kind
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock, sleep
from embedding_operator.shell.store import Store

__all__ = ["WATCH_SECONDS", "Reflector", "WatchState", "list_into"]

_log = logging.getLogger(__name__)

WATCH_SECONDS = 300
"""A watch ends after so long, and half as much again at most; the next goes on from there."""
_BACKOFF = Backoff(first=0.5, most=2.0)
"""After an outage the store should be up to date soon, and one request for each kind costs little."""


@dataclass
class WatchState:
    """State of a watch, for health and metrics."""

    kind: Kind
    active_at: float
    """Clock time when it last heard something or began anew."""
    restarts: int = 0


class Reflector:
    """One watch: a kind, in a namespace or in all. `synced` is set when the store has had all of it once."""

    def __init__(
        self,
        client: Client,
        store: Store,
        clock: Clock,
        kind: Kind,
        namespace: str | None = None,
        *,
        labels: str | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._client = client
        self._store = store
        self._clock = clock
        self._kind = kind
        self._namespace = namespace
        self._labels = labels
        self._chance = chance
        self._version: str | None = None
        self._failures = 0
        """In a row, with no watch in between that the server ended in order, or that reported something."""
        self.synced = asyncio.Event()
        self.state = WatchState(kind, clock.time())

    async def run(self, lists: asyncio.Lock) -> None:
        """Never returns. `lists` is held while a list is read."""
        while True:
            self.state.active_at = self._clock.time()
            try:
                if self._version is None:
                    async with lists:
                        self._version = await list_into(
                            self._store, self._client, self._kind, self._namespace, labels=self._labels
                        )
                    self.synced.set()
                await self._watch(self._version)
            except Expired:
                _log.info("the watch of %s has expired; listing again", self._kind.plural)
                self._version = None
            except ClusterFault as fault:
                self._failures += 1
                seconds = _BACKOFF.seconds(self._failures, self._chance())
                level = logging.INFO if self._failures == 1 else logging.WARNING
                _log.log(level, "%s; again in %.1f s", fault, seconds)
                await sleep(self._clock, seconds)
            self.state.restarts += 1

    def list_anew(self) -> None:
        """Repair: when the present watch ends, list again instead of going on."""
        self._version = None

    async def _watch(self, since: str) -> None:
        """Follow changes until the server ends the watch."""
        seconds = round(WATCH_SECONDS * (1 + self._chance() / 2))
        async for event in self._client.watch(self._kind, self._namespace, since, seconds=seconds, labels=self._labels):
            self.state.active_at, self._failures = self._clock.time(), 0
            if event.type in {"ADDED", "MODIFIED"}:
                self._store.upsert(self._kind, event.object)
            elif event.type == "DELETED":
                self._store.deleted(self._kind, event.object)
            if self._version is not None:
                self._version = event.object["metadata"]["resourceVersion"]
        self._failures = 0


async def list_into(
    store: Store, client: Client, kind: Kind, namespace: str | None = None, *, labels: str | None = None
) -> str:
    """List a kind into the store, page by page; what is not in the list is deleted there. Returns its version."""
    while True:
        keys, version = set(), ""
        try:
            async for page in client.pages(kind, namespace, labels=labels):
                version = page.resource_version
                for raw in page.items:
                    store.upsert(kind, raw)
                    keys.add((raw["metadata"].get("namespace"), raw["metadata"]["name"]))
        except Expired:
            continue  # the list took longer than the API server keeps its version
        if gone := store.retain(kind, namespace, keys, version):
            _log.info("%d %s were deleted unseen", gone, kind.plural)
        return version
