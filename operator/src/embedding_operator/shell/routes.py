"""Which key a change concerns, and how urgent it is."""

from collections.abc import Callable

from embedding_operator.core.objects import ObjectRef
from embedding_operator.kinds import CLUSTER_MODEL_CACHE, EMBEDDING_SERVICE, MODEL_CACHE, Kind, Role
from embedding_operator.shell.entries import Key
from embedding_operator.shell.queue import Priority, WorkQueue
from embedding_operator.shell.store import Change, ChangeType, Store

__all__ = ["Routes", "key_of"]

_COALESCED = 0.2  # seconds: what happens to the children of a service in that time is one reconcile


def key_of(kind: Kind, namespace: str | None, name: str) -> ObjectRef:
    """The key of one of our resources in the queue."""
    return ObjectRef(kind.api_version, kind.name, namespace, name)


class Routes:
    """Call it with each change. Before `is_open`, while the lists come in, it passes nothing on."""

    def __init__(self, queue: WorkQueue[ObjectRef], store: Store, forget: Callable[[ObjectRef], object]) -> None:
        self._queue = queue
        self._store = store
        self._forget = forget
        self.is_open = False

    def __call__(self, change: Change) -> None:
        """Put the key on the queue."""
        if not self.is_open:
            return
        for claim in change.claims:  # its owners share it with those that name it
            self._add_labelled(change.namespace, *self._store.owners(change.namespace, claim))
        if change.kind.role is Role.RESOURCE:
            key = key_of(change.kind, change.namespace, change.name)
            if change.type is ChangeType.DELETED:
                self._forget(key)
            is_urgent = change.is_users or change.kind is not EMBEDDING_SERVICE
            self._queue.add(key, Priority.USER if is_urgent else Priority.CHILD)
            return
        if change.writes is not None:  # what it evicts may be another cache's
            for kind, namespace in ((MODEL_CACHE, change.namespace), (CLUSTER_MODEL_CACHE, None)):
                for name in self._store.names(kind, namespace):
                    self._queue.add(key_of(kind, namespace, name), Priority.CHILD, delay=_COALESCED)
        self._add_labelled(change.namespace, change.service, change.cache)

    def _add_labelled(self, namespace: str | None, service: str | None, cache: tuple[Kind, Key] | None) -> None:
        of_service = (EMBEDDING_SERVICE, (namespace, service)) if service else None
        for found in (of_service, cache):
            if found is not None and self._store.has(found[0], *found[1]):
                self._queue.add(key_of(found[0], *found[1]), Priority.CHILD, delay=_COALESCED)
