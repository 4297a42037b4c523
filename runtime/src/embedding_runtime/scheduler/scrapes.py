"""The metrics of all frontends: collected once for all scrapes at the same time, and kept where one is silent."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from embedding_runtime.observability.metrics import Metrics

__all__ = ["Scrapes"]

_log = logging.getLogger(__name__)

SCRAPE_SECONDS = 2.0
"""How long a frontend's own samples are waited for."""


class Scrapes:
    """Lives on one event loop. Samples are text, as `observability.gather` has it.

    A frontend that does not answer in time counts with its last samples. Without them the server's counters would go
    back, which Prometheus takes for a restart.
    """

    def __init__(self, ask: Callable[[int], None], metrics: Metrics) -> None:
        """`ask` asks a frontend, by its number, for its samples: `answered` has to be called with them."""
        self._ask, self._metrics = ask, metrics
        self._latest: dict[int, str] = {}
        self._asked: set[int] = set()
        """Frontends that have been asked and have not answered."""
        self._silent: frozenset[int] = frozenset()
        """Those that did not in time: they are not waited for again."""
        self._all_answered = asyncio.Event()
        self._collecting: asyncio.Task[Sequence[str]] | None = None

    async def collect(self, frontends: Iterable[int]) -> Sequence[str]:
        """The latest samples of these, except of those that have never answered."""
        if self._collecting is None:
            self._collecting = asyncio.create_task(self._collect(tuple(frontends)))
            self._collecting.add_done_callback(self._collected)
        return await asyncio.shield(self._collecting)

    def answered(self, frontend: int, samples: str) -> None:
        """A frontend has told its samples."""
        self._latest[frontend] = samples
        if frontend in self._silent:
            _log.info("frontend %d tells its metrics again", frontend)
            self._silent -= {frontend}
        self.gone(frontend)

    def gone(self, frontend: int) -> None:
        """A frontend will not answer any more, or has."""
        self._asked.discard(frontend)
        if self._asked <= self._silent:
            self._all_answered.set()

    async def _collect(self, frontends: Sequence[int]) -> Sequence[str]:
        for frontend in frontends:
            if frontend not in self._asked:
                self._asked.add(frontend)
                self._ask(frontend)
        self._all_answered.clear()
        if not self._asked <= self._silent:
            try:
                await asyncio.wait_for(self._all_answered.wait(), SCRAPE_SECONDS)
            except TimeoutError:
                for frontend in self._asked - self._silent:
                    _log.warning(
                        "frontend %d has not told its metrics for %g s: scrapes have its last ones",
                        frontend,
                        SCRAPE_SECONDS,
                    )
        self._silent = frozenset(self._asked)
        self._metrics.stale_frontends(len(self._silent))
        return [self._latest[frontend] for frontend in frontends if frontend in self._latest]

    def _collected(self, _: asyncio.Task[Sequence[str]]) -> None:
        self._collecting = None
