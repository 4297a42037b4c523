"""Watches: what of the history a client sees, as events."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from support.fake_api.kinds import Kind
from support.fake_api.store import Change

__all__ = ["Watch"]

Json = dict[str, Any]


@dataclass(eq=False)
class Watch:
    """One client's. It ends after `end`."""

    kind: Kind
    namespace: str | None
    selects: Callable[[Json], bool]
    wants_bookmarks: bool
    _queue: asyncio.Queue[Json | None] = field(default_factory=asyncio.Queue)

    def start(self, objects: Iterable[Json]) -> None:
        """Begin with what is there."""
        for obj in objects:
            if self.selects(obj):
                self._queue.put_nowait({"type": "ADDED", "object": obj})

    def tell(self, change: Change) -> None:
        """An object that comes to match the selector is added for this client, one that stops to is deleted."""
        resource, namespace, _ = change.key
        if resource != self.kind.resource or self.namespace not in (None, namespace):
            return
        before = change.before if change.before and self.selects(change.before) else None
        after = change.after if change.after and self.selects(change.after) else None
        if after:
            self._queue.put_nowait({"type": "MODIFIED" if before else "ADDED", "object": after})
        elif before:
            meta = {**before["metadata"], "resourceVersion": str(change.version)}
            self._queue.put_nowait({"type": "DELETED", "object": {**before, "metadata": meta}})

    def bookmark(self, version: int, **metadata: Any) -> None:
        """How far this client has seen everything, where it takes bookmarks."""
        if self.wants_bookmarks:
            self._queue.put_nowait({"type": "BOOKMARK", "object": self._mark(version, metadata)})

    def fail(self, status: Json) -> None:
        self._queue.put_nowait({"type": "ERROR", "object": status})
        self.end()

    def end(self) -> None:
        self._queue.put_nowait(None)

    async def lines(self) -> AsyncIterator[bytes]:
        while (event := await self._queue.get()) is not None:
            yield json.dumps(event).encode() + b"\n"

    def _mark(self, version: int, metadata: Json) -> Json:
        meta = {"resourceVersion": str(version), **metadata}
        return {"apiVersion": self.kind.api_version, "kind": self.kind.kind, "metadata": meta}
