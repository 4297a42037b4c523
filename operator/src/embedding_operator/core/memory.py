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
        f"Set spec.resources.limits.memory to {quantity(needed)} or more."
    )


def request_too_low(resources: Raw, needed: int, takes: str) -> str | None:
    """The same of the request. Where it is left out, it is the limit."""
    request = _memory(resources, "requests")
    if amount(request) >= needed if request else _memory(resources, "limits"):
        return None
    found = f"is {request}" if request else "is not set"
    return (
        f"spec.resources.requests.memory {found}, but {takes}: the node may have less, and then the server is killed. "
        f"Set spec.resources.requests.memory to {quantity(needed)}."
    )


def quantity(size: int) -> str:
    """A number of bytes as Kubernetes writes it, rounded up."""
    mebibytes = -(-size // _STEP) * (_STEP >> 20)
    return f"{mebibytes}Mi" if mebibytes % 1024 else f"{mebibytes // 1024}Gi"


def _memory(resources: Raw, kind: str) -> str | None:
    amounts: Mapping[str, str] = resources.get(kind) or {}
    return amounts.get("memory")
