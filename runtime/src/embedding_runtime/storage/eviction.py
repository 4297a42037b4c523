"""Makes room in a cache: removes the least recently used models, or none if that would not free enough."""

import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from embedding_runtime.contract import MOST_EVICTED, REPORT_BYTES, DownloadedModel, DownloadVerdict, short_path
from embedding_runtime.storage.cache import Cache, Entry
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.inventory import entries, reserve, space
from embedding_runtime.storage.progress import megabytes

__all__ = ["Budget", "Room", "removable", "victims", "with_space"]

_GRACE_SECONDS = 600
"""Before `listed_at`: a service that uses a model may not have been in the list yet."""

_SPARE = 1 << 20
"""Bytes that stay free on the volume: for directories, locks, and the note beside a model."""


def removable(found: Iterable[Entry], keep: Collection[str], idle_seconds: float) -> list[Entry]:
    """The entries that may be removed, first ones first. Pure.

    Abandoned downloads go first, then the least recently used models. Models that are in `keep`,
    or were used in the last `idle_seconds`, stay.
    """
    may_go = [each for each in found if each.is_unfinished or (each.path not in keep and each.idle > idle_seconds)]
    return sorted(may_go, key=lambda each: (not each.is_unfinished, -each.idle))


def victims(candidates: Iterable[Entry], lacking: int) -> list[Entry] | None:
    """The first candidates with so many bytes; None if all of them do not have as many. Pure."""
    chosen: list[Entry] = []
    for entry in candidates:
        if lacking <= 0:
            break
        chosen.append(entry)
        lacking -= entry.size
    return None if lacking > 0 else chosen


@dataclass(frozen=True)
class Budget:
    """What a cache may use, and what may not be removed from it."""

    capacity: int | None = None
    """Bytes; None: all of its volume."""
    keep: frozenset[str] = frozenset()
    """Paths of models that services use."""
    listed_at: float = field(default_factory=time.time)
    """When `keep` was listed, in seconds since 1970."""


@dataclass(frozen=True)
class Room:
    """The space of a cache, for one download."""

    cache: Cache
    budget: Budget
    staging: Path
    """Where the download is written."""
    about: str
    """What messages begin with."""

    def make(self, needed: int) -> None:
        """Make sure that so many bytes fit. Raises NoModel, and then has removed nothing."""
        idle_seconds = max(time.time() - self.budget.listed_at, 0) + _GRACE_SECONDS
        stuck: set[str] = set()
        with self.cache.accounting():
            while True:
                lacking = self._lacking(needed)
                found = [each for each in entries(self.cache) if each.path not in stuck]
                candidates = removable(found, self.budget.keep, idle_seconds)
                chosen = victims(candidates, lacking)
                if chosen is None:
                    raise self._too_small(needed, lacking - sum(each.size for each in candidates))
                failed = {each.path for each in chosen if not self.cache.remove(each)}
                if not failed:
                    break
                stuck |= failed
            reserve(self.staging, needed)

    def _lacking(self, needed: int) -> int:
        """Bytes; not more than 0 if it fits."""
        found, capacity = space(self.cache, self.staging), self.budget.capacity
        lacking = needed + _SPARE - found.free
        return lacking if capacity is None else max(lacking, needed + found.used - capacity)

    def _too_small(self, needed: int, lacking: int) -> NoModel:
        capacity = self.budget.capacity
        size = "" if capacity is None else f" of {megabytes(capacity)}"
        message = (
            f"{self.about}it needs {megabytes(needed)}, and the cache{size} would lack {megabytes(lacking)} of them "
            "even without the models that may be removed, so none was: enlarge the cache, or delete services that use "
            "its models (a ClusterModelCache: remove models from spec.models)"
        )
        return NoModel(DownloadVerdict.INSUFFICIENT_STORAGE, message)


def with_space(found: DownloadedModel, cache: Cache, budget: Budget, say: Callable[[str], None]) -> DownloadedModel:
    """The report, with what the cache takes, what is free, and what was evicted; without, if that is unknown."""
    try:
        volume, gone = space(cache, cache.staging / str(found.path)), cache.evicted()
    except OSError as error:
        say(f"the space of {cache.root} is not reported: {error}")
        return found
    free = volume.free - _SPARE
    if budget.capacity is not None:
        free = min(free, budget.capacity - volume.used)
    found = found.model_copy(update={"used_bytes": volume.used, "free_bytes": max(0, free)})
    evicted = tuple(map(short_path, gone[:MOST_EVICTED]))
    while evicted and len(str(found.model_copy(update={"evicted": evicted}))) >= REPORT_BYTES:
        evicted = evicted[:-1]
    return found.model_copy(update={"evicted": evicted})
