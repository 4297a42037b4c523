"""From the store to snapshots of caches."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from embedding_operator.constants import CACHE_LABEL, CLUSTER_CACHE_LABEL, SERVICE_LABEL
from embedding_operator.core.diagnosis import jobs_need_events
from embedding_operator.core.model_cache.location import CacheLocation, location_of
from embedding_operator.core.model_cache.records import recorded
from embedding_operator.core.model_cache.resolve import secrets_needed
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.objects import ObjectRef, Raw, is_controlled_by, kind_ref
from embedding_operator.core.pods import PodEvent, job_pod_of
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.kinds import (
    CLUSTER_MODEL_CACHE,
    EMBEDDING_SERVICE,
    JOB,
    MODEL_CACHE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    kind_of,
)
from embedding_operator.resources.model_cache import CachedModelState
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.routes import key_of
from embedding_operator.shell.secrets import SecretReader, Secrets
from embedding_operator.shell.store import Store
from embedding_runtime.contract import DownloadProgress

__all__ = ["CacheObserver"]

_OWNERS = (
    (EMBEDDING_SERVICE, SERVICE_LABEL),
    (MODEL_CACHE, CACHE_LABEL),
    (CLUSTER_MODEL_CACHE, CLUSTER_CACHE_LABEL),
)
"""Those whose Jobs write to volumes of caches, and the labels of these."""


class CacheObserver:
    """`storage_containers` returns those within reach of a namespace; `events` the Warning Events of what has that UID
    in a namespace.
    """

    def __init__(
        self,
        store: Store,
        secrets: SecretReader,
        reports: PodReports,
        storage_containers: Callable[[str | None], tuple[StorageRead, ...]],
        events: Callable[[str, str], Awaitable[tuple[PodEvent, ...]]],
    ) -> None:
        self._store = store
        self._secrets = secrets
        self._reports = reports
        self._storage_containers = storage_containers
        self._events = events

    def cache(self, key: ObjectRef) -> Raw | None:
        """The cache; None if it is gone or being deleted: garbage collection then removes what it owns."""
        raw = self._store.get(kind_of(key.api_version, key.kind), key.namespace, key.name)
        return None if raw is None or raw["metadata"].get("deletionTimestamp") else raw

    def forget(self, key: ObjectRef) -> None:
        """The cache is gone."""
        self._secrets.forget(key.namespace or "", key.name)

    def snapshot(self, cache: Raw) -> CacheSnapshot:
        """What the store knows."""
        location, uid, namespace = location_of(cache), cache["metadata"]["uid"], cache["metadata"].get("namespace")
        writing = self._store.writing(JOB, location.namespace, location.claim)
        others = tuple(each for each in writing if self._is_others(each, uid))
        others_pods = (
            job_pod_of(each, others) for each in self._store.writing(POD, location.namespace, location.claim)
        )
        children = self._store.children(uid)
        jobs = tuple(each for each in children if kind_ref(each) is JOB)
        reports = self._reports.of(key_of(location.kind, namespace, location.name))
        pods = (job_pod_of(each, jobs) for each in self._store.pods(namespace, location.name, location.kind))
        cluster_caches = self._store.all(CLUSTER_MODEL_CACHE)
        return CacheSnapshot(
            cache=cache,
            claim=next((each for each in children if kind_ref(each) is PERSISTENT_VOLUME_CLAIM), None),
            jobs=jobs,
            pods=tuple(pod for pod in pods if pod is not None),
            mounted=self._store.mounted(location.claim, location.allows),
            claim_users=self._claim_users(location, uid),
            others=others,
            others_pods=tuple(pod for pod in others_pods if pod is not None),
            cluster_caches=tuple(each for each in cluster_caches if each["metadata"]["uid"] != uid),
            storage_containers=self._storage_containers(location.namespace),
            progress={pod: each for pod, each in reports.items() if isinstance(each, DownloadProgress)},
        )

    def _claim_users(self, location: CacheLocation, uid: str) -> tuple[Raw, ...]:
        """Of the claim that a ModelCache may own; that of a ClusterModelCache is its user's."""
        if location.is_cluster_wide:
            return ()
        return tuple(each for each in self._store.users(location.namespace, location.name) if each["uid"] != uid)

    def _is_others(self, job: Raw, uid: str) -> bool:
        """A service or another cache owns it, by UID: labels prove nothing."""
        labels, namespace = job["metadata"].get("labels") or {}, job["metadata"]["namespace"]
        owners = (
            self._store.get(kind, namespace if kind.namespaced else None, labels[label])
            for kind, label in _OWNERS
            if label in labels
        )
        uids = {each["metadata"]["uid"] for each in owners if each is not None}
        return uid not in uids and any(is_controlled_by(job, each) for each in uids)

    async def complete(self, snapshot: CacheSnapshot, now: datetime) -> tuple[CacheSnapshot, Secrets]:
        """With the Secrets and the Events that a plan needs; Secrets are not looked for again once all models are
        there. Raises ClusterFault.
        """
        needed = secrets_needed(snapshot.cache, snapshot.storage_containers)
        models = recorded(snapshot.status).values()
        is_accepted = bool(models) and all(each.state is CachedModelState.READY for each in models)
        namespace = snapshot.location.namespace
        secrets = await self._secrets.read(snapshot.cache, needed, is_accepted=is_accepted, namespace=namespace)
        silent = jobs_need_events(snapshot.jobs, snapshot.pods, now)
        events = {uid: await self._events(namespace, uid) for uid in silent}
        snapshot = replace(snapshot, secrets=secrets.keys, unlabelled_secrets=secrets.unlabelled)
        return replace(snapshot, events=events), secrets
