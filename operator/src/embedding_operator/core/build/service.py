"""The Kubernetes Service that clients use: it selects the serving revision alone."""

from collections.abc import Iterator

from embedding_operator.core import names
from embedding_operator.core.build.base import Blueprint, Desired, marked, metadata
from embedding_operator.core.build.templates import render
from embedding_operator.kinds import SERVICE

__all__ = ["ServiceBuilder"]


class ServiceBuilder:
    """Yields one Service, named like the EmbeddingService."""

    kind = SERVICE

    def __call__(self, blueprint: Blueprint) -> Iterator[Desired]:
        resolved = blueprint.service
        service = {**render("service.yaml.j2"), "metadata": metadata(resolved)}
        service["spec"]["selector"] = names.selector(resolved.service, blueprint.rollout.serving)
        yield marked(service)
