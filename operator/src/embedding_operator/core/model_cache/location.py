"""Where the volume and the Jobs of a cache are, and whose services use it: in this the two kinds differ."""

from dataclasses import dataclass

from embedding_operator.constants import CACHE_LABEL, CLUSTER_CACHE_LABEL
from embedding_operator.core.objects import Raw, kind_ref
from embedding_operator.kinds import CLUSTER_MODEL_CACHE, Kind

__all__ = ["ALL", "CacheLocation", "location_of"]

ALL = "*"
"""In allowedNamespaces: every namespace."""


@dataclass(frozen=True)
class CacheLocation:
    """`namespace` has the Jobs, their claim and the Secrets of the models. `allowed` are the namespaces whose services
    use the models; each has a claim of that name.
    """

    kind: Kind
    name: str
    namespace: str
    claim: str
    allowed: frozenset[str]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"

    @property
    def is_cluster_wide(self) -> bool:
        """Services of many namespaces use it: then its own Jobs alone write to the volume."""
        return self.kind is CLUSTER_MODEL_CACHE

    @property
    def label(self) -> str:
        """Label with its name, on all that is made for it."""
        return CLUSTER_CACHE_LABEL if self.is_cluster_wide else CACHE_LABEL

    def allows(self, namespace: str) -> bool:
        """Services there may use the models."""
        return namespace in self.allowed or ALL in self.allowed

    def reaches(self, namespace: str) -> bool:
        """A claim of that name leads to its volume there."""
        return namespace == self.namespace or self.allows(namespace)

    def owns(self, claim: str, namespace: str) -> bool:
        """Nothing but its own Jobs may write to what the claim leads to."""
        return self.is_cluster_wide and claim == self.claim and self.reaches(namespace)

    def is_seen(self, watched: tuple[str, ...]) -> bool:
        """An operator for those namespaces alone sees its Jobs; () are all."""
        return not watched or self.namespace in watched

    def unwatched(self, watched: tuple[str, ...]) -> tuple[str, ...]:
        """The namespaces that `allowed` names and an operator for those alone does not see; () are all."""
        return tuple(sorted(self.allowed - {ALL} - set(watched))) if watched else ()


def location_of(raw: Raw) -> CacheLocation:
    """Also of a spec that is not valid."""
    meta, spec = raw["metadata"], raw.get("spec") or {}
    kind, name = kind_ref(raw), str(meta["name"])
    if kind is CLUSTER_MODEL_CACHE:
        claim = str((spec.get("volume") or {}).get("claimName", ""))
        return CacheLocation(
            kind, name, str(spec.get("namespace", "")), claim, frozenset(spec.get("allowedNamespaces") or ())
        )
    namespace = str(meta["namespace"])
    return CacheLocation(kind, name, namespace, str(spec.get("persistentVolumeClaim") or name), frozenset({namespace}))
