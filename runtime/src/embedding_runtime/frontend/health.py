"""Liveness (`/healthz`), readiness (`/readyz`), metrics (`/metrics`) and the backend (`/backend`).

None of them waits for a batch, and none needs an API key.
"""

import asyncio
import functools
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import APIRouter, Header, Response
from fastapi.responses import JSONResponse, PlainTextResponse

from embedding_runtime.contract import BACKEND_PATH, SelectedBackend
from embedding_runtime.observability import gather
from embedding_runtime.scheduler.base import Scheduler, State, public_reason

__all__ = ["PROBES", "router"]

PROBES = frozenset(
    {"/healthz", "/readyz", "/health", "/ping", "/metrics", "/v2/health/live", "/v2/health/ready", BACKEND_PATH}
)
"""Paths of probes and scrapes, here and in `openinference`."""


def router(engine: Scheduler) -> APIRouter:
    """The routes."""
    text = {"schema": {"type": "string"}}
    failed: dict[int | str, dict[str, Any]] = {
        503: {"description": "not alive or not ready; the body is the reason", "content": {"text/plain": text}}
    }
    formats: dict[int | str, dict[str, Any]] = {200: {"content": {"application/openmetrics-text": text}}}
    scrapes = _Scrapes(engine)
    routes = APIRouter(tags=["health"], default_response_class=PlainTextResponse)

    @routes.get("/healthz", summary="Liveness: 503 once the workers have failed", responses=failed)
    async def healthz() -> Response:
        return _text(engine, well=engine.state is not State.FAILED)

    @routes.get("/health", summary="Same as /readyz, at the path of TEI and vLLM", responses=failed)
    @routes.get("/ping", summary="Same as /readyz, at the path of SageMaker", responses=failed)
    @routes.get(
        "/readyz", summary="Readiness: 503 with the reason until the model is loaded and warm", responses=failed
    )
    async def readyz() -> Response:
        return _text(engine, well=engine.state is State.READY)

    @routes.get("/metrics", summary="Prometheus metrics", responses=formats)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        content, kind = await scrapes.exposition(accept)
        return Response(content, headers={"Content-Type": kind})

    @routes.get(
        BACKEND_PATH,
        summary="The backend that computes, and why it was selected; 503 until the model is loaded",
        response_model=SelectedBackend,
        response_class=JSONResponse,
        responses=failed,
    )
    async def backend() -> Response:
        model = engine.model
        if model is None:
            return _text(engine, well=False)
        return JSONResponse(SelectedBackend.of(model.backend, model.public_reason).model_dump(mode="json"))

    return routes


class _Scrapes:
    """Shares one collection between concurrent scrapes, so that many cost little more than one."""

    def __init__(self, engine: Scheduler) -> None:
        self._engine = engine
        self._next: asyncio.Task[Callable[[str], tuple[bytes, str]]] | None = None

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics as the Accept header requests, and their content type."""
        if self._next is None:
            self._next = asyncio.create_task(self._collect())
        return (await asyncio.shield(self._next))(accept)

    async def _collect(self) -> Callable[[str], tuple[bytes, str]]:
        await asyncio.sleep(0)  # requests that have already arrived join
        self._next = None
        return functools.lru_cache(_FORMATS)(functools.partial(gather.exposition, await self._engine.collect()))


_FORMATS = 4
"""Serialized formats that the scrapes of one collection share."""


def _text(engine: Scheduler, *, well: bool) -> Response:
    """A response with the state."""
    return Response(f"{public_reason(engine)}\n", status_code=200 if well else 503, media_type="text/plain")
