"""The cache that a model is to be downloaded into."""

from embedding_operator.core.checks.problems import invalid
from embedding_operator.core.model_cache.location import CacheLocation
from embedding_operator.core.quantity import amount
from embedding_operator.errors import Problem
from embedding_operator.resources.v1alpha1 import Cache
from embedding_runtime.contract import SCHEMES, FileUri, ForeignUri, ModelUri, PvcUri

__all__ = ["check_cache", "check_owner"]

_FIELD = "spec.model.cache"


def check_cache(cache: Cache | None, uri: ModelUri | None) -> list[Problem]:
    """Whether there is exactly one volume, and something to download into it."""
    if cache is None:
        return []
    return invalid([*_problems_of_volume(cache), *_problems_of_uri(uri)])


def check_owner(field: str, claim: str, owner: CacheLocation | None, remedy: str) -> list[Problem]:
    """Whether Jobs may write to the claim. `owner`: the ClusterModelCache that has it."""
    if owner is None:
        return []
    return invalid([f"{field}: PersistentVolumeClaim {claim} is that of {owner}, which alone writes to it: {remedy}"])


def _problems_of_volume(cache: Cache) -> list[str]:
    if (cache.persistent_volume_claim is None) == (cache.size is None):
        return [f"{_FIELD}: give exactly one of persistentVolumeClaim and size"]
    if cache.size is None and (cache.storage_class_name or cache.access_mode):
        return [f"{_FIELD}: storageClassName and accessMode are for a claim that the operator creates: give size"]
    try:
        if cache.size is not None and amount(cache.size) <= 0:
            return [f"{_FIELD}.size: {cache.size} is too small: give the size of the volume, such as 20Gi"]
    except ValueError as error:
        return [f"{_FIELD}.size: {error}"]
    return []


def _problems_of_uri(uri: ModelUri | None) -> list[str]:
    match uri:
        case PvcUri() | FileUri():
            return [f"{_FIELD}: {uri} is not downloaded: pods read it from its volume. Leave spec.model.cache out"]
        case ForeignUri():
            known = ", ".join(each for each in SCHEMES if each not in ("pvc://", "file://"))
            return [f"{_FIELD}: caches are filled by the built-in initializer, which downloads {known}: leave it out"]
    return []
