"""API requests by verb and resource."""

import re
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Self

__all__ = ["Counts", "classify"]

_PATH = re.compile(
    r"/(?:api/[^/]+|apis/[^/]+/[^/]+)"  # the core group, or another one
    r"(?:/namespaces/[^/]+(?=/[^/]+))?"  # not the object of /api/v1/namespaces/NAME
    r"/(?P<resource>[^/]+)(?:/(?P<name>[^/]+))?(?:/(?P<subresource>[^/]+))?"
)
_WRITES = {"POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_READS = frozenset({"get", "list", "watch"})
_LEASES = "leases"


def classify(method: str, path: str, query: Mapping[str, str]) -> str:
    """The verb as RBAC names it and the resource: `patch deployments`, `update embeddingservices/status`.

    Paths outside the resources, such as /apis and /version, are `get discovery`.
    """
    match = _PATH.fullmatch(path.rstrip("/"))
    if not match:
        return f"{_WRITES.get(method, 'get')} discovery"
    subresource = f"/{match['subresource']}" if match["subresource"] else ""
    if method in _WRITES:
        verb = "deletecollection" if method == "DELETE" and not match["name"] else _WRITES[method]
    elif query.get("watch") in {"1", "true"}:
        verb = "watch"
    else:
        verb = "get" if match["name"] else "list"
    return f"{verb} {match['resource']}{subresource}"


@dataclass
class Counts:
    """The traffic through the proxy, since its start or between two moments."""

    requests: Counter[str] = field(default_factory=Counter)
    """Numbers of requests by the key that `classify` returns."""
    failures: Counter[str] = field(default_factory=Counter)
    """Answers of 400 and above, by status."""
    sent: int = 0
    """Bytes of the bodies of requests, as they are on the wire: compressed if the client compresses."""
    received: int = 0
    """Bytes of the bodies of answers, watches included."""
    last: float | None = None
    """Time of the latest request, on the monotonic clock; watches and requests about Leases are ignored."""

    def note(self, request: str) -> None:
        """Count one request."""
        self.requests[request] += 1
        if not request.startswith("watch ") and not request.endswith(f" {_LEASES}"):
            self.last = time.monotonic()

    def since(self, earlier: "Counts") -> "Counts":
        """The difference."""
        return Counts(
            self.requests - earlier.requests,
            self.failures - earlier.failures,
            self.sent - earlier.sent,
            self.received - earlier.received,
            self.last,
        )

    @property
    def writes(self) -> int:
        """Requests that change objects, except Leases."""
        return sum(n for verb, resource, n in self._split() if verb not in _READS)

    @property
    def gets(self) -> int:
        """Reads of single objects, except Leases, and of the API's description."""
        return sum(n for verb, _, n in self._split() if verb == "get")

    @property
    def lists(self) -> int:
        """Lists, page by page."""
        return sum(n for verb, _, n in self._split() if verb == "list")

    @property
    def works(self) -> int:
        """Requests that are neither watches nor about a Lease."""
        return self.writes + self.gets + self.lists

    def _split(self) -> list[tuple[str, str, int]]:
        parts = [(*request.partition(" ")[::2], n) for request, n in self.requests.items()]
        return [(verb, resource, n) for verb, resource, n in parts if resource != _LEASES]

    def to_json(self) -> dict[str, Any]:
        """What `from_json` reads."""
        return vars(self)

    @classmethod
    def from_json(cls, read: Mapping[str, Any]) -> Self:
        """What `to_json` wrote."""
        return cls(**{**read, "requests": Counter(read["requests"]), "failures": Counter(read["failures"])})
