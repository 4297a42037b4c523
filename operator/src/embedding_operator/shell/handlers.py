"""What kopf calls when something changes: each handler puts a key on the queue, and that is all.

Only kopf's low-level event handlers are used, and they return nothing: so kopf itself writes no annotation, finalizer,
status, Event or peering object (`kopf._core.reactor.processing` patches only for handlers of other kinds, and for what
a handler returns).
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import kopf

from embedding_operator.constants import SERVICE_LABEL
from embedding_operator.core.snapshot import ObjectRef
from embedding_operator.kinds import (
    EMBEDDING_SERVICES,
    OURS,
    OWNED,
    Resource,
)
from embedding_operator.settings import Settings
from embedding_operator.shell.reconcile import key_of

__all__ = ["kopf_settings", "registry"]

Add = Callable[[ObjectRef], None]
Handler = Callable[..., Awaitable[None]]

_WATCH = 300  # seconds; then the server ends the watch and kopf goes on from where it was


def registry(add: Add, login: Callable[..., Awaitable[kopf.ConnectionInfo]]) -> kopf.OperatorRegistry:
    """The watches, each of which adds the key that a change concerns."""
    handlers = kopf.OperatorRegistry()
    kopf.on.login(registry=handlers)(login)
    for resource in OURS:
        kopf.on.event(resource.api_version, resource.plural, registry=handlers)(_add_itself(add, resource))
    for resource in OWNED:
        kopf.on.event(resource.api_version, resource.plural, registry=handlers)(_add_service(add))
    return handlers


def kopf_settings(settings: Settings) -> kopf.OperatorSettings:
    """kopf, told to read and to do nothing else."""
    of_kopf = kopf.OperatorSettings()
    of_kopf.posting.enabled = False
    of_kopf.peering.standalone = True
    of_kopf.scanning.disabled = True  # no watch of all CRDs and namespaces, and no right to it
    of_kopf.networking.request_timeout = settings.request_timeout_seconds
    of_kopf.watching.connect_timeout = settings.request_timeout_seconds
    of_kopf.watching.server_timeout = _WATCH
    of_kopf.watching.client_timeout = _WATCH + settings.request_timeout_seconds
    for resource in OWNED:
        of_kopf.watching.label_selectors[resource.api_version, resource.plural] = SERVICE_LABEL
    return of_kopf


def _add_itself(add: Add, resource: Resource) -> Handler:
    async def handle(*, namespace: str | None, name: str, **_: Any) -> None:
        add(key_of(resource, namespace, name))

    return handle


def _add_service(add: Add) -> Handler:
    async def handle(*, namespace: str, labels: Mapping[str, str], **_: Any) -> None:
        add(key_of(EMBEDDING_SERVICES, namespace, labels[SERVICE_LABEL]))

    return handle
