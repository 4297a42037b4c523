"""`/healthz`: is this process worth keeping? `/readyz`: should it get requests? Neither waits behind a batch."""

from fastapi import APIRouter, Response

from embedding_runtime.engine import Engine, State

__all__ = ["router"]


def router(engine: Engine) -> APIRouter:
    """The routes."""
    routes = APIRouter(tags=["health"])

    @routes.get("/healthz", summary="Alive: 503 once the worker process is gone")
    async def healthz() -> Response:
        return _text(engine, well=engine.state is not State.FAILED)

    @routes.get("/readyz", summary="Ready: 503, with the reason, until the model is loaded and warm")
    async def readyz() -> Response:
        return _text(engine, well=engine.state is State.READY)

    return routes


def _text(engine: Engine, *, well: bool) -> Response:
    return Response(f"{engine.reason}\n", status_code=200 if well else 503, media_type="text/plain")
