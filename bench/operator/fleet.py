"""Which of the created services are level, from what watches say."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

__all__ = ["Fleet"]

_T = TypeVar("_T")


@dataclass
class _Deployment:
    settled: bool
    marked: bool


@dataclass
class Fleet:
    """The EmbeddingServices of the benchmark with the Deployments and Services that they own, by UID.

    Ownership is the controller's ownerReference: names and labels are the operator's own affair.
    """

    marker: str = ""
    """A text that is new in the Deployments when they carry the change that is waited for."""
    most_under_way: int = 0
    """The most services at one moment whose Deployments the Deployment controller had not caught up with."""
    _current: dict[str, bool] = field(default_factory=dict)
    """By service: its status is about its present generation and has a Ready condition."""
    _deployments: defaultdict[str, dict[str, _Deployment]] = field(default_factory=lambda: defaultdict(dict))
    """By owner, then by their own UID."""
    _services: dict[str, str] = field(default_factory=dict)
    """Owners by Service."""
    _under_way: set[str] = field(default_factory=set)

    def expect(self, marker: str) -> None:
        """From now on count the Deployments that carry the marker, and those under way at once."""
        self.marker = marker
        self.most_under_way = len(self._under_way)
        for owned in self._deployments.values():
            for each in owned.values():
                each.marked = False

    @property
    def level(self) -> int:
        """Services with a Deployment, a Service, and a status that is about their present generation."""
        have_service = set(self._services.values())
        return sum(
            current and bool(self._deployments.get(uid)) and uid in have_service
            for uid, current in self._current.items()
        )

    @property
    def marked(self) -> int:
        """Services with a Deployment that carries the marker, and that its controller has caught up with."""
        return sum(any(each.marked and each.settled for each in owned.values()) for owned in self._deployments.values())

    def see(self, kind: str, event: str, obj: Mapping[str, Any], raw: bytes = b"") -> None:
        """One event of a watch; `raw` is the text it came in."""
        metadata = obj["metadata"]
        uid: str = metadata["uid"]
        gone = event == "DELETED"
        if kind == "EmbeddingService":
            _put(self._current, uid, None if gone else _is_current(obj))
        elif (owner := _owner(metadata)) is None:
            return
        elif kind == "Service":
            _put(self._services, uid, None if gone else owner)
        else:
            marked = bool(self.marker) and self.marker.encode() in raw
            _put(self._deployments[owner], uid, None if gone else _Deployment(_is_settled(obj), marked))
            self._count_under_way(owner)

    def _count_under_way(self, owner: str) -> None:
        if all(each.settled for each in self._deployments[owner].values()):
            self._under_way.discard(owner)
        else:
            self._under_way.add(owner)
        self.most_under_way = max(self.most_under_way, len(self._under_way))


def _put(into: dict[str, _T], uid: str, value: _T | None) -> None:
    if value is None:
        into.pop(uid, None)
    else:
        into[uid] = value


def _is_current(service: Mapping[str, Any]) -> bool:
    status = service.get("status") or {}
    return status.get("observedGeneration") == service["metadata"]["generation"] and any(
        each["type"] == "Ready" for each in status.get("conditions", ())
    )


def _is_settled(deployment: Mapping[str, Any]) -> bool:
    return bool(deployment.get("status", {}).get("observedGeneration") == deployment["metadata"]["generation"])


def _owner(metadata: Mapping[str, Any]) -> str | None:
    """The UID of the EmbeddingService that controls it."""
    return next(
        (
            each["uid"]
            for each in metadata.get("ownerReferences", ())
            if each.get("controller") and each["kind"] == "EmbeddingService"
        ),
        None,
    )
