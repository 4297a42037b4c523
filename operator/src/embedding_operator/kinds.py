"""The one table of every kind that the operator reads, watches or owns.

Watches, pruning, the chart's RBAC rules and the fake API server of the tests are derived from it, and `Client` makes no
call that it does not list. A new kind of child is a row here, a builder in `core.build` and a test.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from embedding_operator.constants import API_VERSION

__all__ = [
    "CHILDREN",
    "CLUSTER_MODEL_CACHE",
    "CLUSTER_STORAGE_CONTAINER",
    "DEPLOYMENT",
    "EMBEDDING_SERVICE",
    "EVENT",
    "JOB",
    "KINDS",
    "LEASE",
    "MODEL_CACHE",
    "PERSISTENT_VOLUME_CLAIM",
    "POD",
    "POD_DISRUPTION_BUDGET",
    "RESOURCES",
    "SECRET",
    "SERVICE",
    "STORAGE_CONTAINER",
    "WATCHED",
    "Kind",
    "Role",
    "kind_of",
]


class Role(StrEnum):
    """What a kind is to the operator."""

    RESOURCE = "resource"
    """Ours: users write its spec, the operator its status."""
    CHILD = "child"
    """Built for a service, owned by it, and pruned when no builder yields it any more. All that it says is its spec."""
    EVIDENCE = "evidence"
    """Made by others for a child: pods. Read to say what is wrong; annotated to announce that they drain."""
    REFERENCE = "reference"
    """Named by a spec, read one by one, never cached."""
    RECORD = "record"
    """Written for people to read."""
    ELECTION = "election"
    """How several operators agree on the one that works."""


_ROLE_VERBS: Mapping[Role, frozenset[str]] = {
    Role.RESOURCE: frozenset({"get", "list", "watch", "update status"}),
    Role.CHILD: frozenset({"get", "list", "watch", "create", "update", "patch", "delete"}),
    Role.EVIDENCE: frozenset({"list", "watch", "patch"}),
    Role.REFERENCE: frozenset({"get"}),
    Role.RECORD: frozenset({"create", "list"}),
    Role.ELECTION: frozenset({"get", "create", "update"}),
}


@dataclass(frozen=True)
class Kind:
    """One kind: where the API server has it, and what it is to the operator.

    `optional` kinds may be unknown to the API server (their CRD is not installed): then they are neither watched nor
    built. `is_managed`: one operator manages each object, and status.manager says which, so that every operator may
    write the status. A verb such as `update status` is for the subresource.
    """

    api_version: str
    name: str
    plural: str
    role: Role
    namespaced: bool = True
    optional: bool = False
    is_managed: bool = False

    def __str__(self) -> str:
        return self.name

    @property
    def verbs(self) -> frozenset[str]:
        """What the operator does with it, and so the rights it asks for."""
        return _ROLE_VERBS[self.role]

    @property
    def group(self) -> str:
        """`apps` of `apps/v1`; empty for the core group."""
        group, slash, _ = self.api_version.rpartition("/")
        return group if slash else ""

    @property
    def version(self) -> str:
        """`v1` of `apps/v1`."""
        return self.api_version.rpartition("/")[2]

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Its path at the API server; without a name that of the collection, without a namespace of all of them."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + "".join(f"/{part}" for part in (name, subresource) if part)


EMBEDDING_SERVICE = Kind(API_VERSION, "EmbeddingService", "embeddingservices", Role.RESOURCE, is_managed=True)
STORAGE_CONTAINER = Kind(API_VERSION, "StorageContainer", "storagecontainers", Role.RESOURCE)
CLUSTER_STORAGE_CONTAINER = Kind(
    API_VERSION, "ClusterStorageContainer", "clusterstoragecontainers", Role.RESOURCE, namespaced=False
)
MODEL_CACHE = Kind(API_VERSION, "ModelCache", "modelcaches", Role.RESOURCE, is_managed=True)
CLUSTER_MODEL_CACHE = Kind(
    API_VERSION, "ClusterModelCache", "clustermodelcaches", Role.RESOURCE, namespaced=False, is_managed=True
)
DEPLOYMENT = Kind("apps/v1", "Deployment", "deployments", Role.CHILD)
SERVICE = Kind("v1", "Service", "services", Role.CHILD)
POD_DISRUPTION_BUDGET = Kind("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets", Role.CHILD)
PERSISTENT_VOLUME_CLAIM = Kind("v1", "PersistentVolumeClaim", "persistentvolumeclaims", Role.CHILD)
JOB = Kind("batch/v1", "Job", "jobs", Role.CHILD)
POD = Kind("v1", "Pod", "pods", Role.EVIDENCE)
SECRET = Kind("v1", "Secret", "secrets", Role.REFERENCE)
EVENT = Kind("v1", "Event", "events", Role.RECORD)
LEASE = Kind("coordination.k8s.io/v1", "Lease", "leases", Role.ELECTION)

KINDS = (
    EMBEDDING_SERVICE,
    STORAGE_CONTAINER,
    CLUSTER_STORAGE_CONTAINER,
    MODEL_CACHE,
    CLUSTER_MODEL_CACHE,
    DEPLOYMENT,
    SERVICE,
    POD_DISRUPTION_BUDGET,
    PERSISTENT_VOLUME_CLAIM,
    JOB,
    POD,
    SECRET,
    EVENT,
    LEASE,
)

RESOURCES = tuple(kind for kind in KINDS if kind.role is Role.RESOURCE)
CHILDREN = tuple(kind for kind in KINDS if kind.role is Role.CHILD)
WATCHED = tuple(kind for kind in KINDS if "watch" in kind.verbs)

_BY_NAME: Mapping[tuple[str, str], Kind] = {(kind.api_version, kind.name): kind for kind in KINDS}


def kind_of(api_version: str, name: str) -> Kind:
    """Raises KeyError for a kind that the operator does not touch."""
    return _BY_NAME[api_version, name]
