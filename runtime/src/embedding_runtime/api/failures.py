"""Every failure in the words of the API it happened in: OpenAI's envelope, Cohere's, TEI's, Open Inference's."""

import re
from collections.abc import Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from embedding_runtime import calls
from embedding_runtime.api.answers import json_of
from embedding_runtime.errors import BadRequest, RuntimeFault

__all__ = ["add_failures", "bug", "told"]


async def told(request: Request, fault: RuntimeFault) -> Response:
    """The answer to a request that failed so."""
    calls.failed(fault.reason)
    headers = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
    said = {"message": str(fault), "type": fault.type, "param": fault.param, "code": fault.code}
    return json_of(_shape(request)(fault.status, said), fault.status, headers)


def add_failures(app: FastAPI) -> None:
    """Handlers for all that a route raises where it is in order."""
    app.exception_handler(RuntimeFault)(told)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await told(request, _in_words(request, error.errors()))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        said = {"message": message, "type": "invalid_request_error", "param": None, "code": None}
        headers = dict(error.headers or {})
        if "Allow" in headers and (methods := _methods(app, request.url.path)):
            headers["Allow"] = ", ".join(sorted(methods))
        return json_of(_shape(request)(error.status_code, said), error.status_code, headers)


def _methods(app: FastAPI, path: str) -> set[str]:
    """Starlette names the methods of one route; several of ours may have the same path, as / has."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    template = next((route.path for route in routes if route.path_regex.match(path)), None)
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


_ANY_INPUT = "a string, a list of strings, a list of token ids, or a list of lists of token ids"
_TEXT_OR_TEXTS = "a string or a list of strings, of whole Unicode characters"
_WANTED = {
    "input": f"{_ANY_INPUT}; strings of whole Unicode characters",
    "inputs": f"{_ANY_INPUT}; strings of whole Unicode characters",
    **dict.fromkeys(("text_1", "text_2", "queries"), _TEXT_OR_TEXTS),
    "documents": "a string, or an object with text, of whole Unicode characters",
    "data": "a list of strings, of whole Unicode characters",
    "truncate": "true, false, NONE, START or END",
}
"""Of fields that take several forms, for each of which pydantic has errors of its own."""


def _in_words(request: Request, errors: Sequence[Mapping[str, Any]]) -> BadRequest:
    """All that pydantic found, by place, without the values, which may be texts."""
    first = errors[0]
    if _BINARY in request.headers:
        return BadRequest(f"{_BINARY}: binary tensors are not taken; send BYTES in JSON, in data")
    if first["type"] == "json_invalid":
        where = first["loc"][1]
        return BadRequest(f"the body is not JSON: {first['ctx']['error']} at character {where}")
    if len(first["loc"]) == 1:
        return BadRequest("the body is not a JSON object; send it with the header Content-Type: application/json")
    words = dict.fromkeys(map(_about, errors))  # a field that takes several forms has an error for each
    more = f"; and {len(words) - _TOLD} more" if len(words) > _TOLD else ""
    return BadRequest("; ".join(list(words)[:_TOLD]) + more, param=str(first["loc"][1]))


_BINARY = "Inference-Header-Content-Length"
"""Header of Open Inference's binary extension."""

_TOLD = 20


def _about(error: Mapping[str, Any]) -> str:
    _, field, *inner = error["loc"]
    place, last = str(field), str(field)
    for part in inner:
        if isinstance(part, int):
            place += f"[{part}]"
        elif "[" in part or part in {"bool", "str"} or part.startswith("_"):
            # A form that the field may have, in pydantic's words.
            return f"{place}: it has to be {_WANTED[last]}"
        else:
            place, last = f"{place}.{part}", part
    said = error["msg"].removeprefix("Value error, ")
    return f"{place} is missing" if error["type"] == "missing" else f"{place}: {said}"
