"""What the pods of a service are meant to be."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

from embedding_operator.constants import INITIALIZER, SERVER, TEMPLATE_ANNOTATION
from embedding_operator.core.downloads import Download
from embedding_operator.core.objects import Raw
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.wording import capitalized

__all__ = ["ExpectedPod"]


@dataclass(frozen=True)
class ExpectedPod:
    """The service, and the containers and template that were built for it. A Job's pod has the initializer alone, which
    is then the server, too. A pod whose model is cached, or an image, has no initializer: it is empty.
    """

    resolved: ResolvedService
    initializer: Raw
    server: Raw
    template: str
    """Digest of the pod template."""
    progress: Finding
    """What it means that the initializer runs."""
    is_job: bool = False
    model_image: str | None = None
    """The image that the node mounts as the model."""

    @classmethod
    def of(cls, resolved: ResolvedService, deployment: Raw) -> Self:
        """From the Deployment as it was built. Its pods may have sidecars: our containers are found by name."""
        template = deployment["spec"]["template"]
        by = "The node" if resolved.model_image else capitalized(str(resolved.fetcher))
        return cls(
            resolved=resolved,
            initializer=_named(template["spec"].get("initContainers") or (), INITIALIZER),
            server=_named(template["spec"]["containers"], SERVER),
            template=template["metadata"]["annotations"][TEMPLATE_ANNOTATION],
            progress=Finding(Reason.DOWNLOADING, f"{by} is downloading {resolved.shown_uri}."),
            model_image=resolved.model_image,
        )

    @classmethod
    def of_job(cls, resolved: ResolvedService, job: Raw) -> Self:
        """From a Job as it was built."""
        (container,) = job["spec"]["template"]["spec"]["containers"]
        uri, claim = resolved.shown_uri, resolved.cache_claim
        progress = Finding(Reason.RESOLVING, f"A Job resolves {uri} to one version.")
        if claim is not None:
            words = f"A Job is downloading {uri} into the cache, PersistentVolumeClaim {claim}."
            progress = Finding(Reason.DOWNLOADING, words)
        return cls(resolved, container, container, template="", progress=progress, is_job=True)

    def progress_at(self, download: Download | None) -> Finding:
        """The same with what the pods report."""
        if download is None:
            return self.progress
        return Finding(self.progress.reason, f"{self.progress.message.rstrip('.')}: {download}.")

    @property
    def resources_field(self) -> str:
        """What sets the requests of the pod."""
        return "spec.container.resources of the StorageContainer" if self.is_job else "spec.resources"

    @property
    def claim_field(self) -> str:
        """What names the claim that the pod mounts."""
        if self.resolved.shared is not None:
            return str(self.resolved.shared.cache.location)
        return "spec.model.cache" if self.resolved.cache_claim else "spec.model.storageUri"

    @property
    def initializer_memory(self) -> str | None:
        """The initializer's memory limit."""
        return _memory_limit(self.initializer)

    @property
    def server_memory(self) -> str | None:
        """The server's memory limit."""
        return _memory_limit(self.server)


def _named(containers: Sequence[Mapping[str, Any]], name: str) -> Raw:
    return next((each for each in containers if each["name"] == name), {})


def _memory_limit(container: Raw) -> str | None:
    limit: str | None = ((container.get("resources") or {}).get("limits") or {}).get("memory")
    return limit
