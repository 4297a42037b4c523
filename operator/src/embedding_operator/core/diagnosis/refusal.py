"""Why the cluster refuses to create pods, in its words, and the remedy that fits them."""

import re
from collections.abc import Callable, Sequence

from embedding_operator.core.wording import sentence

__all__ = ["refusal"]

_PREFIX = re.compile(r'^(Error creating: )?(pods "[^"]*" is forbidden: |Pod "[^"]*" is invalid: )?')
"""The name in it is made up anew for every attempt."""
_UNSPECIFIED = re.compile(r"failed quota: (?P<quota>[^:]+): must specify (?P<resources>[a-z0-9./,-]+)")
_EXCEEDED = re.compile(r"exceeded quota: (?P<quota>[^,]+),")


def refusal(words: str, resources: str, unspecified: Callable[[Sequence[str]], str]) -> str:
    """`resources`: the field that sets those of the pod. `unspecified`: the fields to set for resources that a quota
    wants every container to specify.
    """
    words = _PREFIX.sub("", words)
    return f"{sentence(words)} {_remedy(words, resources, unspecified)}"


def _remedy(words: str, resources: str, unspecified: Callable[[Sequence[str]], str]) -> str:
    if wanted := _UNSPECIFIED.search(words):
        fields = unspecified(wanted["resources"].split(","))
        return f"ResourceQuota {wanted['quota']} wants every container to specify it: set {fields}."
    if exceeded := _EXCEEDED.search(words):
        return f"Raise ResourceQuota {exceeded['quota']}, delete pods that use it, or lower {resources}."
    if "violates PodSecurity" in words:
        return "Change the pod-security.kubernetes.io/enforce label of the namespace, or use another namespace."
    if "per Container" in words or "per Pod" in words:
        return f"Change {resources}, or the LimitRange of the namespace."
    if "admission webhook" in words:
        return "Ask the owner of the webhook, or change the spec to what it allows."
    return "Change what refuses them, or the spec."
