"""Why no node runs a pod, in the scheduler's words and with the remedy that fits them."""

import re

from embedding_operator.core.diagnosis.expected import ExpectedPod
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.wording import without_repetition

__all__ = ["unschedulable"]

_NODES = re.compile(r"^\d+/\d+ nodes are available: ")
_NO_USE = re.compile(r"( (no new claims to deallocate|still not schedulable),?)?( preemption: .*)?$", re.DOTALL)
"""What follows the cause is about pods that could be evicted, and about devices of DRA that could be given back: it
repeats the cause, or says that this does not help."""
_CLAIM = re.compile(r'persistentvolumeclaim "(?P<name>[^"]+)" (?P<what>not found|is being deleted)')


def unschedulable(words: str, expected: ExpectedPod) -> Finding:
    """`words` are those of the PodScheduled condition."""
    cause = without_repetition(_NO_USE.sub("", words))
    if claim := _CLAIM.search(cause):
        remedy = f"Create the PersistentVolumeClaim or correct {expected.claim_field}"
        return Finding(
            Reason.VOLUME_NOT_FOUND,
            f"No node can schedule the pod: PersistentVolumeClaim {claim['name']} {claim['what']}. {remedy}.",
        )
    if "unbound immediate PersistentVolumeClaims" in cause:
        words = _NODES.sub("", cause)
        remedy = f"Check the events of the PersistentVolumeClaim in {expected.claim_field}"
        return Finding(Reason.VOLUME_NOT_BOUND, f"No node can schedule the pod: {words}. {remedy}.")
    requests = _requests(expected)
    pod = f"the pod (requests {requests})" if requests else "the pod"
    return Finding(Reason.UNSCHEDULABLE, f"No node can schedule {pod}: {cause}. {_remedy(cause, requests, expected)}.")


def _requests(expected: ExpectedPod) -> str:
    resources = expected.server.get("resources") or {}
    amounts = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return ", ".join(f"{name} {value}" for name, value in sorted(amounts.items()))


def _remedy(cause: str, requests: str, expected: ExpectedPod) -> str:
    if "Insufficient" in cause or "Too many pods" in cause:
        room = "Add a node with free capacity"
        lower = f"delete pods that use it, or lower {expected.resources_field}" if requests else "or delete pods"
        return f"{room}, {lower}"
    if "volume" in cause:
        return f"Check the PersistentVolumeClaim in {expected.claim_field}: its volume cannot be used on these nodes"
    if "taint" in cause or "affinity" in cause or "selector" in cause:
        return "Add a node that the pod may run on, or change the taints and labels of the nodes"
    return "Add a node that the pod may run on"
