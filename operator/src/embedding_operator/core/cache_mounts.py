"""Which models of which cache a Deployment mounts: they must not be evicted."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from embedding_operator.core.objects import Raw

__all__ = ["MODELS", "mounted"]

MODELS = PurePosixPath("models")
"""Directory of the complete models in a cache."""


def mounted(deployment: Raw) -> Iterator[tuple[str, str]]:
    """Claim and path of each model, the path below MODELS."""
    pod = ((deployment.get("spec") or {}).get("template") or {}).get("spec") or {}
    sources = {each["name"]: each.get("persistentVolumeClaim") for each in pod.get("volumes") or ()}
    for container in pod.get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            claim, path = sources.get(mount["name"]), PurePosixPath(mount.get("subPath") or "")
            if claim and path.parent == MODELS:
                yield claim["claimName"], path.name
