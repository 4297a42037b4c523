"""What the pods of a service are meant to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from embedding_operator.constants import INITIALIZER, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.core.objects import Raw
from embedding_operator.core.resolve import ResolvedService

__all__ = ["ExpectedPod"]


@dataclass(frozen=True)
class ExpectedPod:
    """The service, and the containers and template that were built for it."""

    resolved: ResolvedService
    initializer: Raw
    server: Raw
    template: str
    """Digest of the pod template."""

    @classmethod
    def of(cls, resolved: ResolvedService, deployment: Raw) -> Self:
        """From the Deployment as it was built. Its pods may have sidecars: our containers are found by name."""
        template = deployment["spec"]["template"]
        return cls(
            resolved=resolved,
            initializer=_named(template["spec"].get("initContainers") or (), INITIALIZER),
            server=_named(template["spec"]["containers"], SERVER),
            template=template["metadata"]["annotations"][TEMPLATE_ANNOTATION],
        )

    @property
    def initializer_memory(self) -> str | None:
        """The initializer's memory limit."""
        return _memory_limit(self.initializer)

    @property
    def server_memory(self) -> str | None:
        """The server's memory limit."""
        return _memory_limit(self.server)


def _named(containers: Sequence[Mapping[str, Any]], name: str) -> Raw:
    return next(each for each in containers if each["name"] == name)


def _memory_limit(container: Raw) -> str | None:
    limit: str | None = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return limit
