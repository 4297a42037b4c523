"""Tracks through watches which of the created services are up to date."""

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
    """A text that Deployments contain once they have the change that the phase waits for."""
    most_under_way: int = 0
    """The most services at one moment whose Deployments the Deployment controller had not caught up with."""
    _current: dict[str, bool] = field(default_factory=dict)
    """By service: whether its status has a Ready condition and is of the current generation."""
    _deployments: defaultdict[str, dict[str, _Deployment]] = field(default_factory=lambda: defaultdict(dict))
    """By UID of the owner, then by their own UID."""
    _services: dict[str, str] = field(default_factory=dict)
    """UIDs of the owners by UID of the Service."""
    _under_way: set[str] = field(default_factory=set)

    def expect(self, marker: str) -> None:
        """Start to count the Deployments that contain the marker, and those being rolled out at once."""
        self.marker = marker
        self.most_under_way = len(self._under_way)
        for owned in self._deployments.values():
            for each in owned.values():
                each.marked = False

    @property
    def level(self) -> int:
        """Services with a Deployment, a Service, and a status of the current generation."""
        have_service = set(self._services.values())
        return sum(
            current and bool(self._deployments.get(uid)) and uid in have_service
            for uid, current in self._current.items()
        )

    @property
    def marked(self) -> int:
        """Services whose Deployment contains the marker and has been observed by its controller."""
        return sum(any(each.marked and each.settled for each in owned.values()) for owned in self._deployments.values())

    def see(self, kind: str, event: str, obj: Mapping[str, Any], raw: bytes = b"") -> None:
        """Processes one event of a watch; `raw` is its JSON text."""
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
