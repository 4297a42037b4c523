"""`/healthz`: is this process worth keeping? `/readyz`: should it get requests? `/metrics`: how is it doing?

None waits behind a batch.
"""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import PlainTextResponse

from embedding_runtime.observability import gather
from embedding_runtime.scheduler.base import Scheduler, State

__all__ = ["PROBES", "router"]

PROBES = frozenset({"/healthz", "/readyz", "/health", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready"})
"""What machines ask every few seconds, here and in `openinference`."""


def router(engine: Scheduler) -> APIRouter:
    """The routes."""
    text = {"schema": {"type": "string"}}
    not_so: dict[int | str, dict[str, Any]] = {
        503: {"description": "not alive or not ready; the body is the reason", "content": {"text/plain": text}}
    }
    formats: dict[int | str, dict[str, Any]] = {200: {"content": {"application/openmetrics-text": text}}}
    routes = APIRouter(tags=["health"], default_response_class=PlainTextResponse)

    @routes.get("/healthz", summary="Liveness: 503 once the workers have failed", responses=not_so)
    async def healthz() -> Response:
        return _text(engine, well=engine.state is not State.FAILED)

    @routes.get("/health", summary="Same as /readyz, at the path of TEI and vLLM", responses=not_so)
    @routes.get("/ping", summary="Same as /readyz, at the path of SageMaker", responses=not_so)
    @routes.get(
        "/readyz", summary="Readiness: 503 with the reason until the model is loaded and warm", responses=not_so
    )
    async def readyz() -> Response:
        return _text(engine, well=engine.state is State.READY)

    @routes.get("/metrics", summary="Prometheus metrics", responses=formats)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        content, kind = gather.exposition(await engine.collect(), accept)
        return Response(content, headers={"Content-Type": kind})

    return routes


def _text(engine: Scheduler, *, well: bool) -> Response:
    """The reason of a failure may quote an exception, which is not for everybody."""
    words = "the worker has failed; see the server's log" if engine.state is State.FAILED else engine.reason
    return Response(f"{words}\n", status_code=200 if well else 503, media_type="text/plain")
