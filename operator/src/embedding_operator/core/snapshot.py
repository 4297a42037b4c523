"""What is known about one service, frozen: all that a plan depends on beside the settings and the time.

Children are what the service owns by UID; labels select, they prove nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from embedding_operator.core.model_cache.shared import SharedCache
from embedding_operator.core.objects import Raw, kind_ref, revision_of
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.records import Finding
from embedding_operator.kinds import DEPLOYMENT, JOB, SERVICE, Kind
from embedding_runtime.contract import DownloadProgress, SelectedBackend

__all__ = ["Snapshot", "StorageRead"]


@dataclass(frozen=True)
class StorageRead:
    """One storage container as `storage.read` found it: `parsed` is None where this release cannot read it. With
    `problems` it fetches for nobody, and the services that use it are held as they are. `formats` are the
    `UriFormats`, as far as they can be read.
    """

    raw: Raw
    parsed: Any
    problems: tuple[str, ...] = ()
    formats: Any = None

    @property
    def is_cluster_wide(self) -> bool:
        """A ClusterStorageContainer."""
        return bool(self.raw["kind"] == "ClusterStorageContainer")

    def __str__(self) -> str:
        return f"{self.raw['kind']} {self.raw['metadata']['name']}"


@dataclass(frozen=True)
class Snapshot:
    """What is known about one service.

    `secrets`: the names of the keys of each Secret that the service needs, None for one that does not exist; only
    those that `resolve.secrets_needed` names are there. `others`: objects that carry the service's label, or a name
    that a builder wants, and belong to somebody else. `may_roll`: the rollout budget has room for a change that the
    user did not make.
    """

    service: Raw
    children: tuple[Raw, ...] = ()
    others: tuple[Raw, ...] = ()
    pods: tuple[Pod, ...] = ()
    job_pods: tuple[Pod, ...] = ()
    """Those of the service's Jobs."""
    pod_events: Mapping[str, tuple[PodEvent, ...]] = field(default_factory=dict)
    """By pod UID; only for pods that `diagnosis.needs_events` names."""
    storage_containers: tuple[StorageRead, ...] = ()
    secrets: Mapping[str, frozenset[str] | None] = field(default_factory=dict)
    unlabelled_secrets: frozenset[str] = frozenset()
    """Those of the Secrets that exist and lack USE_LABEL: not to be used where the policy asks for it."""
    may_roll: bool = True
    cached: frozenset[str] = frozenset()
    """The paths in the service's cache that Deployments of the namespace mount."""
    claim_users: tuple[Raw, ...] = ()
    """Owner references to the services and caches of the namespace that name the claim of the service's own cache."""
    shared_caches: tuple[SharedCache, ...] = ()
    """The ModelCaches of the namespace, and the ClusterModelCaches that allow it, or have their Jobs in it."""
    claims: Mapping[str, Raw | None] = field(default_factory=dict)
    """Those claims of the namespace that `cache_access.claims_needed` names; None for one that does not exist."""
    server_version: tuple[int, int] | None = None
    """Of the API server, if `checks.image_volume` asks for it."""
    runs_jobs: bool = True
    """Without a cluster nothing runs Jobs: initializers then find out for themselves."""
    refused_check: Finding | None = None
    """Why the API server has just refused `Plan.check`."""
    progress: Mapping[str, DownloadProgress] = field(default_factory=dict)
    """By pod UID; what the pods answered that `questions` asks."""
    backends: Mapping[str, SelectedBackend] = field(default_factory=dict)
    """The same of servers."""

    @property
    def uid(self) -> str:
        """The service's UID."""
        uid: str = self.service["metadata"]["uid"]
        return uid

    @property
    def status(self) -> Raw:
        """The service's present status; empty before the first."""
        return self.service.get("status") or {}

    @property
    def rolled_out(self) -> int | None:
        """The generation that was last rolled out; releases before revisions rolled out what they observed."""
        return (self.status.get("revision") or {}).get("generation") or self.status.get("observedGeneration")

    @property
    def jobs(self) -> tuple[Raw, ...]:
        """The service's Jobs."""
        return self.of_kind(JOB)

    def of_kind(self, kind: Kind) -> tuple[Raw, ...]:
        """The children of a kind, by name."""
        return tuple(child for child in self.children if kind_ref(child) is kind)

    @property
    def deployments(self) -> Mapping[str, Raw]:
        """The Deployments by revision, but those that are being deleted. Of two of one revision it is the one with the
        name that we gave it: a copy under another name has our labels and owner reference.
        """
        name = self.service["metadata"]["name"]
        alive = [each for each in self.of_kind(DEPLOYMENT) if not each["metadata"].get("deletionTimestamp")]
        alive.sort(key=lambda each: each["metadata"]["name"] in (name, f"{name}-{revision_of(each)}"))
        return {revision_of(each): each for each in alive}

    @property
    def frontend(self) -> Raw | None:
        """The Kubernetes Service that clients use, if it exists."""
        name = self.service["metadata"]["name"]
        return next((each for each in self.of_kind(SERVICE) if each["metadata"]["name"] == name), None)

    def live_pods(self, revision: str | None = None) -> tuple[Pod, ...]:
        """Pods that are not on their way out, of one revision or of all."""
        return tuple(pod for pod in self.pods if not pod.is_gone and revision in (None, pod.revision))
