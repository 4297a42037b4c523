"""Whether a pod fits on a node where another one has just gone."""

from collections.abc import Mapping
from fractions import Fraction

from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount

__all__ = ["makes_room"]

_PLACEMENT = ("nodeSelector", "affinity", "runtimeClassName", "nodeName", "schedulerName", "hostNetwork")
"""Fields of a pod that decide where it may run: another value may lead to another node."""


def makes_room(leaving: Raw, coming: Raw) -> bool:
    """A pod of the template `coming` needs nothing that one of `leaving` does not free. Pod templates.

    So an outage is risked only where it helps: a candidate that requests more than the serving pods could not be
    scheduled in their place either.
    """
    before, after = leaving["spec"], coming["spec"]
    if any(after.get(name) and after.get(name) != before.get(name) for name in _PLACEMENT):
        return False
    freed = _requests(before)
    return all(freed.get(name, Fraction(0)) >= value for name, value in _requests(after).items())


def _requests(pod: Mapping[str, object]) -> dict[str, Fraction]:
    """What the scheduler reserves: the sum of the containers, or the largest init container where that is more."""
    total: dict[str, Fraction] = {}
    for container in _containers(pod, "containers"):
        for name, value in _of(container).items():
            total[name] = total.get(name, Fraction(0)) + value
    for container in _containers(pod, "initContainers"):
        for name, value in _of(container).items():
            total[name] = max(total.get(name, Fraction(0)), value)
    return total


def _containers(pod: Mapping[str, object], field: str) -> list[Raw]:
    found = pod.get(field) or []
    return found if isinstance(found, list) else []


def _of(container: Raw) -> dict[str, Fraction]:
    resources = container.get("resources") or {}
    asked = {**(resources.get("limits") or {}), **(resources.get("requests") or {})}
    return {name: amount(str(value)) for name, value in asked.items()}
