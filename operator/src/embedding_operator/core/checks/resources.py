"""A container's resources: what an API server says only when the pods are created."""

import re
from collections.abc import Mapping
from fractions import Fraction

from embedding_operator.core.checks.problems import invalid, quoted
from embedding_operator.core.quantity import amount
from embedding_operator.errors import Problem
from embedding_operator.resources.kubernetes import ResourceRequirements

__all__ = ["check_resources", "is_extended"]

_NATIVE = frozenset({"cpu", "memory", "ephemeral-storage"})
_DOMAIN = r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*"
_EXTENDED = re.compile(rf"(?P<domain>{_DOMAIN})/[A-Za-z0-9](?:[-A-Za-z0-9_.]*[A-Za-z0-9])?")
_MAX_PART = {"domain": 253, "name": 63}
_HUGE_PAGES = "hugepages-"


def is_extended(name: str) -> bool:
    """A device or the like: counted in whole numbers, and never overcommitted."""
    return "/" in name


def check_resources(resources: ResourceRequirements | None, where: str) -> list[Problem]:
    """`where` is the path of the field, such as spec.resources."""
    if resources is None:
        return []
    limits, bad_limits = _amounts(resources.limits, f"{where}.limits")
    requests, bad_requests = _amounts(resources.requests, f"{where}.requests")
    problems = [*bad_limits, *bad_requests]
    for name in limits.keys() & requests.keys():
        limit, request = resources.limits[name], resources.requests[name]
        if not _may_overcommit(name) and requests[name] != limits[name]:
            problems.append(f"{where}: request {request} and limit {limit} of {name} must be equal")
        elif requests[name] > limits[name]:
            problems.append(f"{where}: the request of {name}, {request}, is above its limit, {limit}")
    problems += [
        f"{where}.requests has {name}: set it in {where}.limits too"
        for name in requests
        if not _may_overcommit(name) and name not in resources.limits
    ]
    asked = resources.limits.keys() | resources.requests.keys()
    if any(name.startswith(_HUGE_PAGES) for name in asked) and not asked & {"cpu", "memory"}:
        problems.append(f"{where}: huge pages need cpu or memory beside them")
    return invalid(sorted(problems))


def _amounts(given: Mapping[str, str], where: str) -> tuple[dict[str, Fraction], list[str]]:
    """The values that can be read, and what is wrong with the others."""
    amounts, problems = {}, []
    for name, text in given.items():
        if not _is_resource(name):
            known = "cpu, memory, ephemeral-storage, hugepages-SIZE, or an accelerator such as nvidia.com/gpu"
            problems.append(f"{where}: {quoted(name)} is not a resource: use {known}")
            continue
        try:
            value = amount(text)
        except ValueError as error:
            problems.append(f"{where}.{name}: {error}")
            continue
        if is_extended(name) and value.denominator != 1:
            problems.append(f"{where}.{name}: {text} is not a whole number")
        else:
            amounts[name] = value
    return amounts, problems


def _is_resource(name: str) -> bool:
    if name in _NATIVE:
        return True
    if name.startswith(_HUGE_PAGES):
        return _is_quantity(name.removeprefix(_HUGE_PAGES))
    match = _EXTENDED.fullmatch(name)
    if match is None:
        return False
    domain, _, last = name.rpartition("/")
    is_kubernetes_own = domain == "kubernetes.io" or domain.endswith(".kubernetes.io")
    return len(domain) <= _MAX_PART["domain"] and len(last) <= _MAX_PART["name"] and not is_kubernetes_own


def _is_quantity(text: str) -> bool:
    try:
        return amount(text) > 0
    except ValueError:
        return False


def _may_overcommit(name: str) -> bool:
    return not is_extended(name) and not name.startswith(_HUGE_PAGES)
