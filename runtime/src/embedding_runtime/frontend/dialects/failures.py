"""Every failure in the words of the API it happened in: OpenAI's envelope, Cohere's, TEI's, Open Inference's."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from embedding_runtime.errors import RuntimeFault
from embedding_runtime.frontend.context import context_of
from embedding_runtime.frontend.pipeline.answers import json_of

__all__ = ["add_failures", "bug", "told"]


async def told(request: Request, fault: RuntimeFault) -> Response:
    """The answer to a request that failed so."""
    context_of(request.scope).fault = fault.reason
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    said = {"message": str(fault), "type": fault.type, "param": fault.param, "code": fault.code}
    return json_of(_shape(request)(fault.status, said), fault.status, headers)


def add_failures(app: FastAPI) -> None:
    """Handlers for all that a route raises where it is in order."""
    app.exception_handler(RuntimeFault)(told)

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        said = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        headers = dict(error.headers or {})
        if "Allow" in headers and (methods := _methods(app, request.url.path)):
            headers["Allow"] = ", ".join(sorted(methods))
        return json_of(_shape(request)(error.status_code, said), error.status_code, headers)


def _methods(app: FastAPI, path: str) -> set[str]:
    """Of all routes with its template, where Starlette names those of one.

    The longest template is meant: /v1/models/NAME:predict is in /v1/models/NAME, too.
    """
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    template = max((route.path for route in routes if route.path_regex.match(path)), key=len, default=None)
    return {method for route in routes if route.path == template for method in route.methods}


async def bug(request: Request, error: Exception) -> Response:
    """The answer to a request that nobody foresaw."""
    message = f"a fault of the server: {type(error).__name__}"
    said = {"message": message, "type": "server_error", "param": None, "code": None}
    return json_of(_shape(request)(HTTPStatus.INTERNAL_SERVER_ERROR, said), HTTPStatus.INTERNAL_SERVER_ERROR)


Said = Mapping[str, str | None]
"""An OpenAI error: message, type, param, code."""


def _openai(_: int, said: Said) -> Mapping[str, Any]:
    return {"error": said}


def _cohere(_: int, said: Said) -> Mapping[str, Any]:
    return {"message": said["message"]}


def _inference(_: int, said: Said) -> Mapping[str, Any]:
    return {"error": said["message"]}


def _tei(status: int, said: Said) -> Mapping[str, Any]:
    kinds = {429: "Overloaded", 500: "Backend", 503: "Unhealthy", 504: "Overloaded"}
    return {"error": said["message"], "error_type": kinds.get(status, "Validation")}


_SHAPES: Sequence[tuple[re.Pattern[str], Callable[[int, Said], Mapping[str, Any]]]] = (
    (re.compile(r"/v[12]/(embed|rerank)"), _cohere),
    (re.compile(r"/v1/models/.*:predict|/v2(/.*)?"), _inference),
    (re.compile(r"/(embed|rerank|tokenize|info)?"), _tei),
)
"""The first whose pattern is the whole path; OpenAI's for all others."""


def _shape(request: Request) -> Callable[[int, Said], Mapping[str, Any]]:
    path = request.url.path
    return next((shape for pattern, shape in _SHAPES if pattern.fullmatch(path)), _openai)
