"""What kopf calls when something changes: each handler puts the object into the store, and that is all.

Only kopf's low-level event handlers are used, and they return nothing: so kopf itself writes no annotation, finalizer,
status, Event or peering object (`kopf._core.reactor.processing` patches only for handlers of other kinds, and for what
a handler returns).
"""

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import Any

import kopf

from embedding_operator.kinds import Kind
from embedding_operator.settings import Settings
from embedding_operator.shell.store import Store

__all__ = ["kopf_settings", "registry"]

Login = Callable[..., Awaitable[kopf.ConnectionInfo]]
Handler = Callable[..., Awaitable[None]]

_WATCH = 300  # seconds; then the server ends the watch and kopf goes on from where it was
_PAGE = 250  # objects
_IDLE = 0.5  # seconds; kopf keeps a task and a queue for each object until then


def registry(kinds: Iterable[Kind], store: Store, on_relist: Callable[[Kind], object], login: Login) -> Any:
    """The watches of these kinds. `on_relist` is called for each object that kopf has from a list of its own: it lists
    again when its version was too old, and reports no deletion that happened before.
    """
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    for kind in kinds:
        kopf.on.event(kind.api_version, kind.plural, registry=handlers)(_into(store, kind, on_relist))
    return handlers


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf's settings: it reads, and does nothing else."""
    of_kopf = kopf.OperatorSettings()
    of_kopf.posting.enabled = False
    of_kopf.peering.standalone = True
    of_kopf.scanning.disabled = True  # no watch of all CRDs and namespaces, and no right to it
    of_kopf.networking.request_timeout = settings.request_timeout_seconds
    of_kopf.networking.error_backoffs = _Backoffs()
    of_kopf.watching.connect_timeout = settings.request_timeout_seconds
    of_kopf.watching.server_timeout = _WATCH
    of_kopf.watching.client_timeout = _WATCH + settings.request_timeout_seconds
    of_kopf.watching.chunk_size = _PAGE
    of_kopf.queueing.idle_timeout = _IDLE
    return of_kopf


class _Backoffs:
    """Seconds before each retry, without end: also after an hour the API server is reached again within seconds."""

    def __iter__(self) -> Iterator[float]:
        yield from (0.5, 1.0, 2.0)
        while True:
            yield 3.0


def _into(store: Store, kind: Kind, on_relist: Callable[[Kind], object]) -> Handler:
    async def handle(*, event: Mapping[str, Any], **_: Any) -> None:
        raw = dict(event["object"])
        if event["type"] == "DELETED":
            store.deleted(kind, raw)
            return
        store.upsert(kind, raw)
        if event["type"] is None:
            on_relist(kind)

    return handle
