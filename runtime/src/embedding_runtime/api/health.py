"""`/healthz`: is this process worth keeping? `/readyz`: should it get requests? Neither waits behind a batch."""

from fastapi import APIRouter, Response
from fastapi.responses import PlainTextResponse

from embedding_runtime.engine import Engine, State

__all__ = ["router"]


def router(engine: Engine) -> APIRouter:
    """The routes."""
    text: dict[str, object] = {"text/plain": {"schema": {"type": "string"}}}
    routes = APIRouter(
        tags=["health"],
        default_response_class=PlainTextResponse,
        responses={503: {"description": "not so: the reason", "content": text}},
    )

    @routes.get("/healthz", summary="Alive: 503 once the worker process is gone")
    async def healthz() -> Response:
        return _text(engine, well=engine.state is not State.FAILED)

    @routes.get("/health", summary="As /readyz, where TEI and vLLM have it")
    @routes.get("/readyz", summary="Ready: 503, with the reason, until the model is loaded and warm")
    async def readyz() -> Response:
        return _text(engine, well=engine.state is State.READY)

    return routes


def _text(engine: Engine, *, well: bool) -> Response:
    return Response(f"{engine.reason}\n", status_code=200 if well else 503, media_type="text/plain")
