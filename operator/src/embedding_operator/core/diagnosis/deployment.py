"""What a Deployment's status says that none of its pods can: that there are none, or that it took too long."""

from collections.abc import Sequence

from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.diagnosis.refusal import refusal
from embedding_operator.core.objects import Raw, condition_of
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.wording import sentence

__all__ = ["of_deployment"]


def of_deployment(deployment: Raw | None, expected: ExpectedPod) -> Finding | None:
    """None: it reports no problem, or one of an older generation."""
    status = (deployment or {}).get("status") or {}
    if deployment is None or status.get("observedGeneration") != deployment["metadata"].get("generation"):
        return None
    failure = condition_of(status, "ReplicaFailure")
    if failure.get("status") == "True" and status.get("replicas", 0) < deployment["spec"].get("replicas", 1):
        words = refusal(failure.get("message", ""), "spec.resources", lambda each: _unspecified(each, expected))
        return Finding(Reason.PODS_REFUSED, f"The cluster refuses to create pods: {words}")
    progress = condition_of(status, "Progressing")
    if progress.get("status") == "False" and progress.get("reason") == "ProgressDeadlineExceeded":
        message = f"The Deployment's progress deadline has passed: {sentence(progress.get('message', ''))}"
        return Finding(Reason.PROGRESS_DEADLINE_EXCEEDED, message)
    return None


def _unspecified(resources: Sequence[str], expected: ExpectedPod) -> str:
    return " and ".join(dict.fromkeys(field for each in resources for field in _fields(each, expected)))


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
