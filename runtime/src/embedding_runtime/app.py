"""The front's HTTP application: the routes, and every error in OpenAI's envelope."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from embedding_runtime import calls
from embedding_runtime.api import health, openai, playground
from embedding_runtime.api.guard import Guard
from embedding_runtime.api.service import Service
from embedding_runtime.api.watch import Watch
from embedding_runtime.auth import KeysFile
from embedding_runtime.errors import BadRequest, RuntimeFault

__all__ = ["create_app"]


def create_app(service: Service, keys: KeysFile | None = None) -> FastAPI:
    """One model's application; without keys, for everybody."""
    app = FastAPI(title="embedding-runtime", description=f"Embeddings of {service.name}", redoc_url=None)
    app.include_router(health.router(service.engine))
    app.include_router(playground.router())
    for prefix in ("/openai/v1", "/v1"):
        app.include_router(openai.router(service), prefix=prefix)

    @app.exception_handler(RuntimeFault)
    async def fault(_: Request, error: RuntimeFault) -> Response:
        calls.failed(error.reason)
        headers = {} if error.retry_after is None else {"Retry-After": str(error.retry_after)}
        return _envelope(error.status, str(error), error.type, param=error.param, code=error.code, headers=headers)

    @app.exception_handler(RequestValidationError)
    async def invalid(request: Request, error: RequestValidationError) -> Response:
        return await fault(request, _in_words(error.errors()[0]))

    @app.exception_handler(HTTPException)
    async def http(request: Request, error: HTTPException) -> Response:
        message = f"{request.method} {request.url.path}: {error.detail}"
        return _envelope(error.status_code, message, "invalid_request_error", headers=error.headers)

    async def bug(_: Request, error: Exception) -> Response:
        return _envelope(HTTPStatus.INTERNAL_SERVER_ERROR, f"a fault of the server: {type(error).__name__}", _SERVER)

    if keys is not None:
        app.add_middleware(Guard, keys=keys, refuse=fault)
    app.add_middleware(Watch, metrics=service.engine.metrics, broken=bug)  # the last one added is the outermost
    return app


_SERVER = "server_error"


def _envelope(
    status: int,
    message: str,
    kind: str,
    *,
    param: str | None = None,
    code: str | None = None,
    headers: Mapping[str, str] | None = None,
) -> Response:
    error = {"message": message, "type": kind, "param": param, "code": code}
    return Response(orjson.dumps({"error": error}), status, headers, "application/json")


def _in_words(error: Mapping[str, Any]) -> BadRequest:
    """pydantic's error with the field's name in front, and without the value, which may be a text."""
    _, *where = error["loc"]
    if error["type"] == "json_invalid":
        return BadRequest(f"the body is not JSON: {error['ctx']['error']} at character {where[0]}")
    if not where:
        return BadRequest("the body is not a JSON object; send it with the header Content-Type: application/json")
    field = str(where[0])
    if error["type"] == "missing":
        return BadRequest(f"{field} is missing", param=field)
    if field == "input":  # pydantic has one error for each form that it could have had
        wanted = "a string, a list of strings, a list of token ids, or a list of lists of token ids"
        return BadRequest(f"input: it has to be {wanted}; strings of whole Unicode characters", param=field)
    return BadRequest(f"{field}: {error['msg']}", param=field)
