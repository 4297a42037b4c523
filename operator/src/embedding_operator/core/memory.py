"""Whether a server's memory limit and request hold what it takes."""

from collections.abc import Mapping

from embedding_operator.core.objects import Raw
from embedding_operator.core.quantity import amount

__all__ = ["limit_too_low", "quantity", "request_too_low"]

_STEP = 64 << 20
"""Amounts that are suggested are multiples of it."""


def limit_too_low(resources: Raw, needed: int, takes: str) -> str | None:
    """The problem and its remedy; None: the limit is high enough, or there is none. `takes`: a clause about `needed`,
    a number of bytes, such as "the server takes 1Gi".
    """
    limit = _memory(resources, "limits")
    if limit is None or amount(limit) >= needed:
        return None
    return (
        f"spec.resources.limits.memory is {limit}, but {takes}: the kernel may kill the server. "
        f"Set spec.resources.limits.memory to {_suggested(needed)} or more."
    )


def request_too_low(resources: Raw, needed: int, takes: str) -> str | None:
    """The same of the request. Where it is left out, it is the limit."""
    request = _memory(resources, "requests")
    if request is None and _memory(resources, "limits") is not None:
        return None
    if request is not None and amount(request) >= needed:
        return None
    found = "is not set" if request is None else f"is {request}"
    return (
        f"spec.resources.requests.memory {found}, but {takes}: the node may have less, and then the server is killed. "
        f"Set spec.resources.requests.memory to {_suggested(needed)}."
    )


def quantity(size: int) -> str:
    """A number of bytes as Kubernetes writes it, rounded up."""
    mebibytes = -(-size >> 20)
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes >> 10}Gi"


def _suggested(needed: int) -> str:
    return quantity(-(-needed // _STEP) * _STEP)


def _memory(resources: Raw, kind: str) -> str | None:
    amounts: Mapping[str, str] = resources.get(kind) or {}
    return amounts.get("memory")
