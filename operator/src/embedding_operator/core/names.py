"""Names and labels of a service's children."""

from embedding_operator.constants import MANAGED_BY, MANAGED_LABEL, REVISION_LABEL, SERVICE_LABEL
from embedding_operator.core.objects import LEGACY
from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.settings import Settings

__all__ = ["cache_name", "deployment_name", "job_labels", "job_name", "label_selector", "labels", "selector", "url"]

_APP = "embedding-server"
"""Value of app.kubernetes.io/name. Not `embedding-runtime`, as in releases before revisions: their Services and
Deployments select by that value and the service's name alone, and must not select the pods of a candidate."""

_SERVICE_IN_JOB = 48


def labels(service: EmbeddingService) -> dict[str, str]:
    """On every child and pod of the service."""
    return {
        "app.kubernetes.io/name": _APP,
        "app.kubernetes.io/instance": service.metadata.name,
        MANAGED_LABEL: MANAGED_BY,
        SERVICE_LABEL: service.metadata.name,
    }


def cache_name(service: str) -> str:
    """Name of the PersistentVolumeClaim of a service's own cache."""
    return f"{service}-cache"


def job_labels(service: EmbeddingService) -> dict[str, str]:
    """On its Jobs and their pods, which no selector of the service may match: they have no revision."""
    return {**labels(service), "app.kubernetes.io/name": "embedding-storage"}


def selector(service: EmbeddingService, revision: str) -> dict[str, str]:
    """The labels of one revision's pods. A Deployment's can never change."""
    if revision == LEGACY:
        return {"app.kubernetes.io/name": "embedding-runtime", SERVICE_LABEL: service.metadata.name}
    return {SERVICE_LABEL: service.metadata.name, REVISION_LABEL: revision}


def label_selector(service: EmbeddingService, revision: str) -> str:
    """The same in the form of a query."""
    return ",".join(f"{key}={value}" for key, value in selector(service, revision).items())


def deployment_name(service: EmbeddingService, revision: str) -> str:
    """Name of the Deployment of one revision."""
    return f"{service.metadata.name}-{revision}"


def job_name(service: EmbeddingService, what: str) -> str:
    """Name of the Job that finds its model; `what` is a digest. It becomes a label: at most 63 characters."""
    return f"{service.metadata.name[:_SERVICE_IN_JOB].rstrip('-')}-model-{what}"


def url(service: EmbeddingService, settings: Settings) -> str:
    """Where it answers inside the cluster."""
    return f"http://{service.metadata.name}.{service.metadata.namespace}.svc.{settings.cluster_domain}"
