"""The PersistentVolumeClaim of a service's own cache."""

from collections.abc import Iterator
from typing import Any

from embedding_operator.core.build.base import Blueprint, Desired, metadata
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.names import cache_name
from embedding_operator.core.objects import Raw, template_digest
from embedding_operator.core.quantity import amount
from embedding_operator.core.resolve import ResolvedService
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.kinds import PERSISTENT_VOLUME_CLAIM

__all__ = ["ClaimBuilder", "claim_of", "grown"]


class ClaimBuilder:
    """Yields the claim that `claim_of` wants."""

    kind = PERSISTENT_VOLUME_CLAIM

    def __call__(self, blueprint: Blueprint) -> Iterator[Desired]:
        if blueprint.claim is not None:
            yield blueprint.claim


def claim_of(resolved: ResolvedService, snapshot: Snapshot) -> Desired | None:
    """The claim as it is to be. An existing one only grows. One that the spec no longer has stays while pods mount it,
    or others name it: a deletion cannot be taken back. Those others own it, too, so that it is not collected with this
    service alone.
    """
    cache = resolved.service.spec.model.cache
    name = cache_name(resolved.service.metadata.name)
    live = next((each for each in snapshot.of_kind(PERSISTENT_VOLUME_CLAIM) if each["metadata"]["name"] == name), None)
    size = cache.size if cache else None
    if size is None and (live is None or not (_is_mounted(name, snapshot) or snapshot.claim_users)):
        return None
    claim: Desired = {"apiVersion": PERSISTENT_VOLUME_CLAIM.api_version, "kind": PERSISTENT_VOLUME_CLAIM.name}
    claim["metadata"] = meta = metadata(resolved, name)
    others = [each for each in snapshot.claim_users if each["uid"] != resolved.service.metadata.uid]
    if others:
        meta["ownerReferences"] = [*meta.get("ownerReferences", ()), *others]
    if live is not None:
        return {**claim, "spec": dict(live["spec"]) if size is None else grown(live["spec"], size)}
    spec: dict[str, Any] = {"accessModes": [cache.access_mode or "ReadWriteOnce"] if cache else []}
    spec["resources"] = {"requests": {"storage": size}}
    if cache is not None and cache.storage_class_name is not None:
        spec["storageClassName"] = cache.storage_class_name
    return {**claim, "spec": spec}


def grown(spec: Raw, size: str) -> dict[str, Any]:
    """The spec of a claim with that size, if it is more than the present one: the API server allows no other change."""
    resources = spec["resources"]
    if amount(size) <= amount(str(resources["requests"]["storage"])):
        return dict(spec)
    return {**spec, "resources": {**resources, "requests": {**resources["requests"], "storage": size}}}


def _is_mounted(claim: str, snapshot: Snapshot) -> bool:
    """By a Deployment, or maybe by a pod that it has not replaced yet."""
    deployments = snapshot.deployments
    if any(claim == name for each in deployments.values() for name, _ in mounted(each)):
        return True
    present = {revision: template_digest(each["spec"]["template"]) for revision, each in deployments.items()}
    return any(not pod.has_ended and pod.template != present.get(pod.revision) for pod in snapshot.pods)
