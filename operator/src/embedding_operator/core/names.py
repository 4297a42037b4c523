"""Names and labels of what is made for a service."""

from embedding_operator.resources.v1alpha1 import EmbeddingService
from embedding_operator.constants import MANAGED_BY, SERVICE_LABEL
from embedding_operator.settings import Settings

__all__ = ["label_selector", "labels", "selector", "url"]


def labels(service: EmbeddingService) -> dict[str, str]:
    """On every object and pod of the service."""
    return {
        "app.kubernetes.io/name": "embedding-runtime",
        "app.kubernetes.io/instance": service.metadata.name,
        "app.kubernetes.io/managed-by": MANAGED_BY,
        SERVICE_LABEL: service.metadata.name,
    }


def selector(service: EmbeddingService) -> dict[str, str]:
    """The labels that tell its pods from all others. They can never change: a Deployment's selector is immutable."""
    return {"app.kubernetes.io/name": "embedding-runtime", SERVICE_LABEL: service.metadata.name}


def label_selector(service: EmbeddingService) -> str:
    """The same in the form of a query."""
    return ",".join(f"{key}={value}" for key, value in selector(service).items())


def url(service: EmbeddingService, settings: Settings) -> str:
    """Where it answers inside the cluster."""
    return f"http://{service.metadata.name}.{service.metadata.namespace}.svc.{settings.cluster_domain}"
