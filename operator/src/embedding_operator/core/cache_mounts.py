"""Which models of which cache a Deployment mounts, and must not be evicted; which cache a Job writes to; which claim a
resource names.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from embedding_operator.core.objects import Raw
from embedding_runtime.contract import CACHE_DIR, CACHE_PATH

__all__ = ["MODELS", "mounted", "named_claims", "written_claim"]

MODELS = PurePosixPath("models")
"""Directory of the complete models in a cache."""


def mounted(deployment: Raw) -> Iterator[tuple[str, str]]:
    """Claim and path of each model, the path below MODELS. Anybody may write a Deployment: what is no path of a cache
    is left out.
    """
    for claim, mount in _mounts(deployment):
        path = PurePosixPath(mount.get("subPath") or "")
        if path.parent == MODELS and re.fullmatch(CACHE_PATH, path.name):
            yield claim, path.name


def written_claim(job: Raw) -> str | None:
    """The claim of the cache that a Job downloads into."""
    return next((claim for claim, mount in _mounts(job) if mount.get("mountPath") == str(CACHE_DIR)), None)


def named_claims(resource: Raw) -> Iterator[str]:
    """The claims that an EmbeddingService, or a ModelCache, names in its spec, which may be anything."""
    spec = _mapping(resource.get("spec"))
    model = _mapping(spec.get("model"))
    uri = model.get("storageUri")
    pvc = uri.removeprefix("pvc://").partition("/")[0] if isinstance(uri, str) and uri.startswith("pvc://") else None
    names = (spec.get("persistentVolumeClaim"), _mapping(model.get("cache")).get("persistentVolumeClaim"), pvc)
    yield from (each for each in names if isinstance(each, str))


def _mapping(value: object) -> Raw:
    return value if isinstance(value, Mapping) else {}


def _mounts(owner: Raw) -> Iterator[tuple[str, Raw]]:
    """What the pods mount of claims: the claim's name, and the mount."""
    pod = ((owner.get("spec") or {}).get("template") or {}).get("spec") or {}
    sources = {each["name"]: each.get("persistentVolumeClaim") for each in pod.get("volumes") or ()}
    for container in pod.get("containers") or ():
        for mount in container.get("volumeMounts") or ():
            if claim := sources.get(mount["name"]):
                yield claim["claimName"], mount
