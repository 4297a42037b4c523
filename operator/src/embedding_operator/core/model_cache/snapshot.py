"""What is known about one cache, frozen: all that a plan depends on beside the settings and the time."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from embedding_operator.core.build.model_job import fits
from embedding_operator.core.model_cache.location import CacheLocation, location_of
from embedding_operator.core.model_cache.records import is_held, is_listed, recorded
from embedding_operator.core.objects import Raw
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.resources.model_cache import CachedModelStatus
from embedding_runtime.contract import DownloadProgress

__all__ = ["CacheSnapshot"]


@dataclass(frozen=True)
class CacheSnapshot:
    """`claim` and `jobs` are what the cache owns by UID; `pods` are those of the Jobs (their `revision` is the Job's
    name). `mounted` are the paths on the volume that Deployments mount. Secrets as in `Snapshot`.
    """

    cache: Raw
    claim: Raw | None = None
    jobs: tuple[Raw, ...] = ()
    pods: tuple[Pod, ...] = ()
    mounted: frozenset[str] = frozenset()
    cluster_caches: tuple[Raw, ...] = ()
    """The other ClusterModelCaches."""
    storage_containers: tuple[StorageRead, ...] = ()
    secrets: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    unlabelled_secrets: frozenset[str] = frozenset()
    claim_users: tuple[Raw, ...] = ()
    """Owner references to the others in the namespace that name the claim."""
    others: tuple[Raw, ...] = ()
    """Jobs of services and of other caches that download into the same volume."""
    others_pods: tuple[Pod, ...] = ()
    events: Mapping[str, tuple[PodEvent, ...]] = field(default_factory=dict)
    """By UID, of the Jobs and pods that `diagnosis.jobs_need_events` names."""
    progress: Mapping[str, DownloadProgress] = field(default_factory=dict)
    """By pod UID, as far as pods report it."""

    @cached_property
    def location(self) -> CacheLocation:
        """Where its volume and Jobs are."""
        return location_of(self.cache)

    def kept(self, now: datetime) -> frozenset[str]:
        """The paths that its downloads must not evict. Services mount what a ClusterModelCache says is ready, without
        a Job that marks it as used: it stays, and so does what another one says of the same volume. What is mounted and
        in no status stays, too, while there is not so much of it that only a flood of made-up paths explains it.
        """
        if not self.location.is_cluster_wide:
            return self.mounted
        own = [each for each in self._recorded(self.cache) if is_held(each, now, self.mounted)]
        others = [each for cache in self.cluster_caches for each in self._recorded(cache) if is_listed(each)]
        listed = frozenset(each.path for each in (*own, *others) if each.path)
        return listed | self.mounted if fits(listed | self.mounted) else listed

    def _recorded(self, cache: Raw) -> Iterable[CachedModelStatus]:
        """What a cache's status says of models on the volume."""
        status = cache.get("status") or {}
        return recorded(status).values() if status.get("claim") == self.location.claim else ()

    @property
    def status(self) -> Raw:
        """The present status; empty before the first."""
        return self.cache.get("status") or {}

    @property
    def generation(self) -> int | None:
        """Generation of the spec."""
        generation: int | None = self.cache["metadata"].get("generation")
        return generation

    @property
    def is_new_spec(self) -> bool:
        """The spec has changed since the status was written: what failed, or was evicted, is tried again."""
        return bool(self.status.get("observedGeneration") != self.generation)
