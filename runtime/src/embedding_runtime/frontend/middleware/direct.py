"""The innermost middleware: calls a route without path parameters directly, by a lookup of its path.

Starlette would try every pattern in turn, and wrap each request three times for exceptions and exit stacks that no such
route needs: docs/performance.md.
"""

from collections.abc import Awaitable, Callable, Iterable

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from embedding_runtime.errors import RuntimeFault

__all__ = ["DirectRoutes"]


class DirectRoutes:
    """ASGI middleware. `refuse` creates the response to a fault. All other requests go to the application."""

    def __init__(
        self,
        app: ASGIApp,
        routes: Iterable[APIRoute],
        refuse: Callable[[Request, RuntimeFault], Awaitable[Response]],
    ) -> None:
        self._app, self._refuse = app, refuse
        self._routes: dict[tuple[str, str], APIRoute] = {}
        for route in routes:
            for method in () if route.param_convertors else route.methods:
                self._routes.setdefault((method, route.path), route)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        route = self._routes.get((scope["method"], scope["path"])) if scope["type"] == "http" else None
        if route is None:
            await self._app(scope, receive, send)
            return
        scope["route"], scope["path_params"] = route, {}
        try:
            await route.app(scope, receive, send)
        except RuntimeFault as fault:
            await (await self._refuse(Request(scope), fault))(scope, receive, send)
