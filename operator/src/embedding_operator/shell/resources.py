"""The kinds of objects that the operator touches, where the API server has them, and what it may do with each.

The chart's RBAC rules say the same; a test holds them together, and `Api` makes no call that is not listed here.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from embedding_operator.constants import API_VERSION

__all__ = [
    "CLUSTER_STORAGE_CONTAINERS",
    "DEPLOYMENTS",
    "EMBEDDING_SERVICES",
    "EVENTS",
    "LEASES",
    "OURS",
    "OWNED",
    "PODS",
    "RESOURCES",
    "SECRETS",
    "SERVICES",
    "STORAGE_CONTAINERS",
    "Resource",
    "resource_of",
]


@dataclass(frozen=True)
class Resource:
    """One kind. A verb such as `update status` is for the subresource."""

    api_version: str
    kind: str
    plural: str
    verbs: frozenset[str]
    namespaced: bool = True

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
        """Its address at the API server; without a name that of the collection, without a namespace of all of them."""
        root = f"/apis/{self.api_version}" if self.group else f"/api/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return f"{root}{scope}/{self.plural}" + "".join(f"/{part}" for part in (name, subresource) if part)


_OWN = frozenset({"get", "list", "watch", "update status"})
_MADE = frozenset({"get", "list", "watch", "create", "update", "patch", "delete"})

EMBEDDING_SERVICES = Resource(API_VERSION, "EmbeddingService", "embeddingservices", _OWN)
STORAGE_CONTAINERS = Resource(API_VERSION, "StorageContainer", "storagecontainers", _OWN)
CLUSTER_STORAGE_CONTAINERS = Resource(
    API_VERSION, "ClusterStorageContainer", "clusterstoragecontainers", _OWN, namespaced=False
)
DEPLOYMENTS = Resource("apps/v1", "Deployment", "deployments", _MADE)
SERVICES = Resource("v1", "Service", "services", _MADE)
PODS = Resource("v1", "Pod", "pods", frozenset({"list", "watch"}))
SECRETS = Resource("v1", "Secret", "secrets", frozenset({"get"}))
EVENTS = Resource("v1", "Event", "events", frozenset({"create"}))
LEASES = Resource("coordination.k8s.io/v1", "Lease", "leases", frozenset({"get", "create", "update"}))

OURS = (EMBEDDING_SERVICES, STORAGE_CONTAINERS, CLUSTER_STORAGE_CONTAINERS)
"""The custom resources."""
OWNED = (DEPLOYMENTS, SERVICES, PODS)
"""What is made for a service, by us or by Kubernetes; all of it carries SERVICE_LABEL."""

RESOURCES: Mapping[tuple[str, str], Resource] = {
    (resource.api_version, resource.kind): resource for resource in (*OURS, *OWNED, SECRETS, EVENTS, LEASES)
}


def resource_of(api_version: str, kind: str) -> Resource:
    """Raises KeyError for a kind that the operator does not touch."""
    return RESOURCES[api_version, kind]
