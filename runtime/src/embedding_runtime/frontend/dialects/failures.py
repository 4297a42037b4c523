"""Exception handlers: each error is returned in the format of the dialect of the requested path."""

from collections.abc import Mapping
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from embedding_runtime.errors import RuntimeFault
from embedding_runtime.frontend.context import context_of
from embedding_runtime.frontend.dialects.dialect import Dialect, Failure
from embedding_runtime.frontend.pipeline.answers import json_of

__all__ = ["Failures"]


class Failures:
    """Exception handlers of an application. Create it after all routes are registered."""

    def __init__(self, app: FastAPI, default: Dialect) -> None:
        """`default`: the dialect of unknown paths."""
        self._default = default
        self._routes = [route for route in app.routes if isinstance(route, APIRoute)]
        dialects = [dialect for route in self._routes if (dialect := Dialect.of(route)) is not None]
        self._by_path = {
            route.path: dialect
            for route in self._routes
            if (dialect := Dialect.of(route)) is not None and not route.param_convertors
        }
        self._by_prefix = {dialect.prefix: dialect for dialect in dialects if dialect.prefix is not None}
        app.exception_handler(RuntimeFault)(self.refused)
        app.exception_handler(HTTPException)(self.not_found)

    async def refused(self, request: Request, fault: RuntimeFault) -> Response:
        """Respond to a RuntimeFault."""
        context_of(request.scope).fault = fault.reason
        headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
        dialect = self._dialect(request.scope["path"])
        return _answer(dialect, dialect.failure(fault), headers)

    async def not_found(self, request: Request, error: HTTPException) -> Response:
        """Respond to an unknown path or method."""
        path = request.scope["path"]
        headers = dict(error.headers or {})
        if "Allow" in headers and (methods := self._methods(path)):
            headers["Allow"] = ", ".join(sorted(methods))
        failure = Failure(error.status_code, f"{request.method} {path}: {error.detail}; see the paths at /docs")
        return _answer(self._dialect(path), failure, headers)

    async def broken(self, request: Request, error: Exception) -> Response:
        """Respond to an unexpected exception."""
        status = HTTPStatus.INTERNAL_SERVER_ERROR
        failure = Failure(status, f"internal server error: {type(error).__name__}", "server_error")
        return _answer(self._dialect(request.scope["path"]), failure, {})

    def _dialect(self, path: str) -> Dialect:
        if path in self._by_path:
            return self._by_path[path]
        route = self._longest(path)
        if route is not None:
            return Dialect.of(route) or self._default
        prefixes = [prefix for prefix in self._by_prefix if path == prefix or path.startswith(f"{prefix}/")]
        return self._by_prefix[max(prefixes, key=len)] if prefixes else self._default

    def _longest(self, path: str) -> APIRoute | None:
        """The matching route with the longest template: /v1/models/{name} also matches /v1/models/NAME:predict."""
        routes = [route for route in self._routes if route.path_regex.match(path)]
        return max(routes, key=lambda route: len(route.path), default=None)

    def _methods(self, path: str) -> set[str]:
        """Methods of all routes with this path, where Starlette reports those of one route only."""
        longest = self._longest(path)
        if longest is None:
            return set()
        return {method for route in self._routes if route.path == longest.path for method in route.methods}


def _answer(dialect: Dialect, failure: Failure, headers: Mapping[str, str]) -> Response:
    return json_of(dialect.format_error(failure), failure.status, headers)
