"""From the store to snapshots of caches."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import datetime

from embedding_operator.constants import CACHE_LABEL, SERVICE_LABEL
from embedding_operator.core.diagnosis import jobs_need_events
from embedding_operator.core.model_cache.records import recorded
from embedding_operator.core.model_cache.resolve import claim_name, secrets_needed
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.core.objects import ObjectRef, Raw, is_controlled_by, kind_ref
from embedding_operator.core.pods import PodEvent, job_pod_of
from embedding_operator.core.snapshot import StorageRead
from embedding_operator.kinds import EMBEDDING_SERVICE, JOB, MODEL_CACHE, PERSISTENT_VOLUME_CLAIM, POD
from embedding_operator.resources.model_cache import CachedModelState
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.routes import key_of
from embedding_operator.shell.secrets import SecretReader, Secrets
from embedding_operator.shell.store import Store
from embedding_runtime.contract import DownloadProgress

__all__ = ["CacheObserver"]


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
        raw = self._store.get(MODEL_CACHE, key.namespace, key.name)
        return None if raw is None or raw["metadata"].get("deletionTimestamp") else raw

    def forget(self, key: ObjectRef) -> None:
        """The cache is gone."""
        self._secrets.forget(key.namespace or "", key.name)

    def snapshot(self, cache: Raw) -> CacheSnapshot:
        """What the store knows."""
        meta = cache["metadata"]
        namespace, name = meta["namespace"], meta["name"]
        volume = claim_name(cache)
        others = tuple(
            each for each in self._store.writing(JOB, namespace, volume) if self._is_others(each, meta["uid"])
        )
        others_pods = (job_pod_of(each, others) for each in self._store.writing(POD, namespace, volume))
        children = self._store.children(meta["uid"])
        jobs = tuple(each for each in children if kind_ref(each) is JOB)
        reports = self._reports.of(key_of(MODEL_CACHE, namespace, name))
        pods = (job_pod_of(each, jobs) for each in self._store.pods(namespace, name, MODEL_CACHE))
        return CacheSnapshot(
            cache=cache,
            claim=next((each for each in children if kind_ref(each) is PERSISTENT_VOLUME_CLAIM), None),
            jobs=jobs,
            pods=tuple(pod for pod in pods if pod is not None),
            mounted=self._store.mounted(namespace, volume),
            claim_users=tuple(each for each in self._store.users(namespace, name) if each["uid"] != meta["uid"]),
            others=others,
            others_pods=tuple(pod for pod in others_pods if pod is not None),
            storage_containers=self._storage_containers(namespace),
            progress={pod: each for pod, each in reports.items() if isinstance(each, DownloadProgress)},
        )

    def _is_others(self, job: Raw, uid: str) -> bool:
        """A service or another cache owns it, by UID: labels prove nothing."""
        labels, namespace = job["metadata"].get("labels") or {}, job["metadata"]["namespace"]
        owners = (
            self._store.get(kind, namespace, labels[label])
            for kind, label in ((EMBEDDING_SERVICE, SERVICE_LABEL), (MODEL_CACHE, CACHE_LABEL))
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
        secrets = await self._secrets.read(snapshot.cache, needed, is_accepted=is_accepted)
        silent = jobs_need_events(snapshot.jobs, snapshot.pods, now)
        events = {uid: await self._events(snapshot.cache["metadata"]["namespace"], uid) for uid in silent}
        snapshot = replace(snapshot, secrets=secrets.keys, unlabelled_secrets=secrets.unlabelled)
        return replace(snapshot, events=events), secrets
