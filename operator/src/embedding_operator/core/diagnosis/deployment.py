"""What a Deployment's status says that none of its pods can: that there are none, or that it took too long."""

import re

from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.wording import sentence

__all__ = ["of_deployment"]

_PREFIX = re.compile(r'^pods "[^"]*" is forbidden: |^Pod "[^"]*" is invalid: ')
"""The name in it is made up anew for every attempt."""
_UNSPECIFIED = re.compile(r"failed quota: (?P<quota>[^:]+): must specify (?P<resources>[a-z0-9./,-]+)")
_EXCEEDED = re.compile(r"exceeded quota: (?P<quota>[^,]+),")


def of_deployment(deployment: Raw | None, expected: ExpectedPod) -> Finding | None:
    """None: it reports no problem, or one of an older generation."""
    status = (deployment or {}).get("status") or {}
    if deployment is None or status.get("observedGeneration") != deployment["metadata"].get("generation"):
        return None
    failure = condition_of(status, "ReplicaFailure")
    if failure.get("status") == "True" and status.get("replicas", 0) < deployment["spec"].get("replicas", 1):
        words = _PREFIX.sub("", failure.get("message", ""))
        message = f"The cluster refuses to create pods: {sentence(words)} {_remedy(words, expected)}"
        return Finding(Reason.PODS_REFUSED, message)
    progress = condition_of(status, "Progressing")
    if progress.get("status") == "False" and progress.get("reason") == "ProgressDeadlineExceeded":
        message = f"The Deployment's progress deadline has passed: {sentence(progress.get('message', ''))}"
        return Finding(Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    return None


def _remedy(words: str, expected: ExpectedPod) -> str:
    if unspecified := _UNSPECIFIED.search(words):
        fields = [_fields(each, expected) for each in unspecified["resources"].split(",")]
        what = " and ".join(dict.fromkeys(field for each in fields for field in each))
        return f"ResourceQuota {unspecified['quota']} wants every container to specify it: set {what}."
    if exceeded := _EXCEEDED.search(words):
        return f"Raise ResourceQuota {exceeded['quota']}, delete pods that use it, or lower spec.resources."
    if "violates PodSecurity" in words:
        return "Change the pod-security.kubernetes.io/enforce label of the namespace, or use another namespace."
    if "per Container" in words or "per Pod" in words:
        return "Change spec.resources, or the LimitRange of the namespace."
    if "admission webhook" in words:
        return "Ask the owner of the webhook, or change the spec to what it allows."
    return "Change what refuses them, or the spec."


def _fields(resource: str, expected: ExpectedPod) -> list[str]:
    """Where to set a resource (limits.cpu, or cpu for a request) that a quota wants, for each container without it."""
    kind, _, name = (
        resource.rpartition(".") if resource.startswith(("limits.", "requests.")) else ("requests", "", resource)
    )
    fields = []
    if not _has(expected.server, kind, name):
        fields.append(f"spec.resources.{kind}.{name}")
    if not _has(expected.initializer, kind, name):
        fetcher = expected.resolved.fetcher
        where = f"of {fetcher}" if fetcher.name else "of a StorageContainer for this URI (the initializer has none)"
        fields.append(f"spec.container.resources.{kind}.{name} {where}")
    return fields or [f"{resource} on every container, sidecars too"]


def _has(container: Raw, kind: str, name: str) -> bool:
    resources = container.get("resources") or {}
    # A limit is the request too where none is given.
    return name in (resources.get(kind) or {}) or (kind == "requests" and name in (resources.get("limits") or {}))
