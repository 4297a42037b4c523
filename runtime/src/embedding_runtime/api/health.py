"""`/healthz`: is this process worth keeping? `/readyz`: should it get requests? `/metrics`: how is it doing?

None waits behind a batch.
"""

from typing import Annotated

from fastapi import APIRouter, Header, Response

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

    @routes.get("/metrics", summary="For Prometheus")
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        content, kind = engine.metrics.exposition(accept)
        return Response(content, headers={"Content-Type": kind})

    return routes


def _text(engine: Engine, *, well: bool) -> Response:
    return Response(f"{engine.reason}\n", status_code=200 if well else 503, media_type="text/plain")
