"""Collects the metrics of all frontends, once for concurrent scrapes, and keeps the last ones of a stuck frontend."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from embedding_runtime.observability.metrics import Metrics

__all__ = ["Scrapes"]

_log = logging.getLogger(__name__)

SCRAPE_SECONDS = 2.0
"""Timeout for the samples of a frontend."""


class Scrapes:
    """The samples of all frontends, in the format of `observability.gather`. Use it on one event loop only.

    If a frontend does not respond in time, its last samples are used. Without them the server's counters would
    decrease, which Prometheus interprets as a restart.
    """

    def __init__(self, request: Callable[[int], None], metrics: Metrics) -> None:
        """`request`: requests the samples of a frontend, by its number. Call `answered` with the response."""
        self._request, self._metrics = request, metrics
        self._latest: dict[int, str] = {}
        self._pending: set[int] = set()
        """Frontends that have not responded yet."""
        self._stuck: frozenset[int] = frozenset()
        """Pending frontends whose timeout has passed. Later scrapes do not wait for them."""
        self._complete = asyncio.Event()
        self._collecting: asyncio.Task[Sequence[str]] | None = None

    async def collect(self, frontends: Iterable[int]) -> Sequence[str]:
        """The latest samples of these frontends, except of those that have never responded."""
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect(tuple(frontends)))
            self._collecting.add_done_callback(self._collected)
        return await asyncio.shield(self._collecting)

    def answered(self, frontend: int, samples: str) -> None:
        """A frontend has sent its samples."""
        self._latest[frontend] = samples
        if frontend in self._stuck:
            _log.info("frontend %d reports metrics again", frontend)
            self._stuck -= {frontend}
        self.gone(frontend)

    def gone(self, frontend: int) -> None:
        """Do not wait for a frontend any more."""
        self._pending.discard(frontend)
        if self._pending <= self._stuck:
            self._complete.set()

    async def _collect(self, frontends: Sequence[int]) -> Sequence[str]:
        for frontend in frontends:
            if frontend not in self._pending:
                self._pending.add(frontend)
                self._request(frontend)
        self._complete.clear()
        if not self._pending <= self._stuck:
            try:
                await asyncio.wait_for(self._complete.wait(), SCRAPE_SECONDS)
            except TimeoutError:
                for frontend in self._pending - self._stuck:
                    _log.warning(
                        "frontend %d did not report metrics within %g s: scrapes contain its previous ones",
                        frontend,
                        SCRAPE_SECONDS,
                    )
        self._stuck = frozenset(self._pending)
        self._metrics.stale_frontends(len(self._stuck))
        return [self._latest[frontend] for frontend in frontends if frontend in self._latest]

    def _collected(self, _: asyncio.Task[Sequence[str]]) -> None:
        self._collecting = None
