"""From the store to snapshots."""

from dataclasses import replace
from datetime import datetime

from embedding_operator.core.cache_access import claims_needed
from embedding_operator.core.checks.image_volume import wants_image_volume
from embedding_operator.core.diagnosis import needs_events
from embedding_operator.core.model_cache.location import location_of
from embedding_operator.core.model_cache.shared import SharedCache, shared_cache
from embedding_operator.core.names import cache_name
from embedding_operator.core.objects import ObjectRef, Raw, condition_of, kind_ref
from embedding_operator.core.pods import PodEvent, job_pod_of, pod_of
from embedding_operator.core.resolve import cache_claim, secrets_needed
from embedding_operator.core.snapshot import Snapshot, StorageRead
from embedding_operator.core.storage import read
from embedding_operator.errors import NotFound
from embedding_operator.kinds import (
    CLUSTER_MODEL_CACHE,
    CLUSTER_STORAGE_CONTAINER,
    DEPLOYMENT,
    EMBEDDING_SERVICE,
    EVENT,
    JOB,
    MODEL_CACHE,
    PERSISTENT_VOLUME_CLAIM,
    STORAGE_CONTAINER,
)
from embedding_operator.shell.client import Client
from embedding_operator.shell.pod_reports import PodReports
from embedding_operator.shell.routes import key_of
from embedding_operator.shell.secrets import SecretReader, Secrets
from embedding_operator.shell.server_version import ServerVersion
from embedding_operator.shell.store import Store
from embedding_runtime.contract import DownloadProgress, SelectedBackend

__all__ = ["Observer"]

_EVENTS = 10  # the latest of a pod; more say the same


class Observer:
    """Builds snapshots: `snapshot` from the store and the pods' answers, `complete` with what has to be read from the
    API server.
    """

    def __init__(
        self, store: Store, client: Client, secrets: SecretReader, reports: PodReports, version: ServerVersion
    ) -> None:
        self._store = store
        self._client = client
        self._secrets = secrets
        self._reports = reports
        self._version = version
        self._reads: tuple[StorageRead, ...] = ()
        self._reads_of: tuple[int, int] | None = None

    def service(self, key: ObjectRef) -> Raw | None:
        """The service; None if it is gone or being deleted: garbage collection then removes what it owns."""
        raw = self._store.get(EMBEDDING_SERVICE, key.namespace, key.name)
        return None if raw is None or raw["metadata"].get("deletionTimestamp") else raw

    def forget(self, namespace: str, name: str) -> None:
        """The service is gone."""
        self._secrets.forget(namespace, name)

    def snapshot(self, service: Raw) -> Snapshot:
        """What the store knows, and what pods have answered."""
        meta = service["metadata"]
        uid, namespace, name = meta["uid"], meta["namespace"], meta["name"]
        children = tuple(self._store.children(uid))
        deployments = [each for each in children if kind_ref(each) is DEPLOYMENT]
        jobs = [each for each in children if kind_ref(each) is JOB]
        claim, own_claim = cache_claim(service), cache_name(name)
        owns_claim = claim == own_claim or any(kind_ref(each) is PERSISTENT_VOLUME_CLAIM for each in children)
        raw_pods = self._store.pods(namespace, name)
        pods = (pod_of(each, deployments) for each in raw_pods)
        job_pods = (job_pod_of(each, jobs) for each in raw_pods)
        reports = self._reports.of(key_of(EMBEDDING_SERVICE, namespace, name))
        return Snapshot(
            service=service,
            children=children,
            others=tuple(self._store.others(namespace, name, uid)),
            pods=tuple(pod for pod in pods if pod is not None),
            job_pods=tuple(pod for pod in job_pods if pod is not None),
            storage_containers=self.storage_containers(namespace),
            cached=self._store.mounted(claim, lambda where: where == namespace) if claim else frozenset(),
            progress={pod: each for pod, each in reports.items() if isinstance(each, DownloadProgress)},
            backends={pod: each for pod, each in reports.items() if isinstance(each, SelectedBackend)},
            claim_users=self._store.users(namespace, own_claim) if owns_claim else (),
            shared_caches=self._shared_caches(namespace),
        )

    def _shared_caches(self, namespace: str) -> tuple[SharedCache, ...]:
        cluster_wide = (raw for raw in self._store.all(CLUSTER_MODEL_CACHE) if location_of(raw).reaches(namespace))
        found = (shared_cache(raw) for raw in (*self._store.all(MODEL_CACHE, namespace), *cluster_wide))
        return tuple(
            each if each.is_read_only else replace(each, mounted=self._store.mounted(each.claim, each.location.allows))
            for each in found
            if each is not None
        )

    async def complete(self, snapshot: Snapshot, now: datetime) -> tuple[Snapshot, Secrets]:
        """With the Secrets, the claims, the Events and the server's version that a plan needs. Raises ClusterFault."""
        accepted = condition_of(snapshot.status, "Accepted")
        generation = snapshot.service["metadata"].get("generation")
        is_accepted = (accepted.get("status"), accepted.get("observedGeneration")) == ("True", generation)
        needed = secrets_needed(snapshot.service, snapshot.storage_containers)
        secrets = await self._secrets.read(snapshot.service, needed, is_accepted=is_accepted)
        snapshot = replace(snapshot, secrets=secrets.keys, unlabelled_secrets=secrets.unlabelled)
        if wants_image_volume(snapshot.service):
            snapshot = replace(snapshot, server_version=await self._version.read())
        namespace = snapshot.service["metadata"]["namespace"]
        snapshot = replace(
            snapshot, claims={name: await self._claim(namespace, name) for name in claims_needed(snapshot)}
        )
        events = {uid: await self.events(namespace, uid) for uid in needs_events(snapshot, now)}
        return (replace(snapshot, pod_events=events) if events else snapshot), secrets

    def refreshed(self, snapshot: Snapshot) -> Snapshot:
        """The same with what the store knows now. Secrets that could not be read count as complete: what is not known
        to be wrong is not called wrong.
        """
        meta = snapshot.service["metadata"]
        key = key_of(EMBEDDING_SERVICE, meta["namespace"], meta["name"])
        present = self.snapshot(self.service(key) or snapshot.service)
        secrets = {**secrets_needed(present.service, present.storage_containers), **snapshot.secrets}
        return replace(
            present,
            secrets=secrets,
            unlabelled_secrets=snapshot.unlabelled_secrets,
            claims=snapshot.claims,
            pod_events=snapshot.pod_events,
            server_version=snapshot.server_version,
        )

    def storage_containers(self, namespace: str | None) -> tuple[StorageRead, ...]:
        """Those within reach of a namespace, parsed once for each of their versions."""
        versions = self._store.version(STORAGE_CONTAINER), self._store.version(CLUSTER_STORAGE_CONTAINER)
        if versions != self._reads_of:
            raws = [*self._store.all(STORAGE_CONTAINER), *self._store.all(CLUSTER_STORAGE_CONTAINER)]
            self._reads, self._reads_of = tuple(read(raw) for raw in raws), versions
        return tuple(each for each in self._reads if each.raw["metadata"].get("namespace") in (None, namespace))

    async def _claim(self, namespace: str, name: str) -> Raw | None:
        try:
            return await self._client.get(PERSISTENT_VOLUME_CLAIM, namespace, name)
        except NotFound:
            return None

    async def events(self, namespace: str, uid: str) -> tuple[PodEvent, ...]:
        """The last Warning Events of a pod or Job, oldest first. Raises ClusterFault."""
        found = await self._client.list(EVENT, namespace, fields=f"involvedObject.uid={uid},type=Warning")
        found.sort(key=lambda each: each.get("lastTimestamp") or each.get("eventTime") or "")
        return tuple(PodEvent(each.get("reason", ""), each.get("message", "")) for each in found[-_EVENTS:])
