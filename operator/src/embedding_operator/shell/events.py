"""Events about services: news for people, not state. An Event that cannot be recorded is logged instead."""

import logging
from collections import deque
from collections.abc import Callable
from datetime import datetime, timedelta

from embedding_operator.constants import FIELD_MANAGER
from embedding_operator.core.objects import Raw
from embedding_operator.core.records import EventRecord
from embedding_operator.errors import ClusterFault
from embedding_operator.kinds import EVENT
from embedding_operator.shell.client import Client

__all__ = ["EventRecorder"]

_log = logging.getLogger(__name__)

_LONGEST = 1024  # bytes of a message that the API server takes
_MOST, _PER = 10, timedelta(minutes=1)  # Events of one service
_OF_THE_CLUSTER = "default"  # the namespace of Events about what has none, by Kubernetes' convention
_REMEMBERED = 1000  # services, before those with nothing recent are forgotten


class EventRecorder:
    """Creates core/v1 Events, a few a minute for one service."""

    def __init__(self, client: Client, now: Callable[[], datetime]) -> None:
        self._client = client
        self._now = now
        self._recent: dict[str, deque[datetime]] = {}

    async def record(self, service: Raw, event: EventRecord) -> None:
        """Record an Event. Failures of the API server are logged; raises LeaseLost alone."""
        meta, now = service["metadata"], self._now()
        namespace = meta.get("namespace", _OF_THE_CLUSTER)
        about = f"{namespace}/{meta['name']}"
        if not self._has_room(meta["uid"], now):
            _log.info("%s: %s: %s (no Event: it has had %d in a minute)", about, event.reason, event.message, _MOST)
            return
        time = now.strftime("%Y-%m-%dT%H:%M:%SZ")
        obj = {
            "apiVersion": EVENT.api_version,
            "kind": EVENT.name,
            "metadata": {"namespace": namespace, "generateName": f"{meta['name'][:200]}."},
            "involvedObject": {
                "apiVersion": service["apiVersion"],
                "kind": service["kind"],
                **({"namespace": namespace} if "namespace" in meta else {}),
                "name": meta["name"],
                "uid": meta["uid"],
                "resourceVersion": meta["resourceVersion"],
            },
            "type": event.type,
            "reason": event.reason,
            "message": _shortened(event.message),
            "source": {"component": FIELD_MANAGER},
            "firstTimestamp": time,
            "lastTimestamp": time,
            "count": 1,
        }
        try:
            await self._client.create(EVENT, obj)
        except ClusterFault as fault:
            _log.warning("%s: %s: %s (no Event: %s)", about, event.reason, event.message, fault)

    def _has_room(self, uid: str, now: datetime) -> bool:
        if len(self._recent) > _REMEMBERED:
            self._recent = {each: times for each, times in self._recent.items() if times[-1] > now - _PER}
        times = self._recent.setdefault(uid, deque(maxlen=_MOST))
        if len(times) == _MOST and times[0] > now - _PER:
            return False
        times.append(now)
        return True


def _shortened(message: str) -> str:
    text = message.encode()
    return message if len(text) <= _LONGEST else f"{text[: _LONGEST - 3].decode(errors='ignore')}..."
