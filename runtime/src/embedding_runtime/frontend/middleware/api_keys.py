"""Checks API keys before the body is read. Every path needs a key unless it is in OPEN."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from fastapi import Request, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from embedding_runtime.errors import RuntimeFault, Unauthorized
from embedding_runtime.frontend.auth import FailedAttempts, KeysFile
from embedding_runtime.frontend.context import context_of
from embedding_runtime.frontend.health import PROBES
from embedding_runtime.protocol.requests import Principal

__all__ = ["ApiKeyMiddleware", "needs_key"]

OPEN = frozenset({*PROBES, "/docs", "/openapi.json", "/", "/playground.css", "/playground.js"})
"""Paths whose GET needs no key: probes, scrapes, and static pages. (POST / needs one.)"""


class ApiKeyMiddleware:
    """ASGI middleware. `refuse` creates the response to a request without a valid key."""

    def __init__(
        self, app: ASGIApp, keys: KeysFile, refuse: Callable[[Request, RuntimeFault], Awaitable[Response]]
    ) -> None:
        self._app = app
        self._keys = keys
        self._refuse = refuse
        self._failed = FailedAttempts()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        app = self._app
        if scope["type"] == "http" and needs_key(scope["method"], scope["path"]):
            app = await self._refusal(Request(scope)) or app
        await app(scope, receive, send)

    async def _refusal(self, request: Request) -> Response | None:
        scheme, _, presented = request.headers.get("authorization", "").partition(" ")
        now = time.monotonic()
        key = self._keys.find(presented.strip(" \t"), now) if scheme.lower() == "bearer" else None
        if key is None:
            if presented:
                await asyncio.sleep(self._failed.delay(context_of(request.scope).principal.name, now))
            response = await self._refuse(request, Unauthorized(given=bool(presented)))
            response.headers["WWW-Authenticate"] = "Bearer"
            return response
        context = context_of(request.scope)
        context.key, context.principal = key.name, Principal(key.name, key.tokens_per_minute)
        return None


def needs_key(method: str, path: str) -> bool:
    """Whether a request needs a key, if the server has keys."""
    return method not in {"GET", "HEAD"} or not (path in OPEN or path.startswith("/docs/"))
