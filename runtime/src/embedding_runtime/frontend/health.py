"""`/healthz`: is this process worth keeping? `/readyz`: should it get requests? `/metrics`: how is it doing?

None waits behind a batch.
"""

import asyncio
import functools
from collections.abc import Callable
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
        503: {"description": "not so: the reason", "content": {"text/plain": text}}
    }
    formats: dict[int | str, dict[str, Any]] = {200: {"content": {"application/openmetrics-text": text}}}
    scrapes = _Scrapes(engine)
    routes = APIRouter(tags=["health"], default_response_class=PlainTextResponse)

    @routes.get("/healthz", summary="Alive: 503 once the worker process is gone", responses=not_so)
    async def healthz() -> Response:
        return _text(engine, well=engine.state is not State.FAILED)

    @routes.get("/health", summary="As /readyz, where TEI and vLLM have it", responses=not_so)
    @routes.get("/ping", summary="As /readyz, where SageMaker has it", responses=not_so)
    @routes.get("/readyz", summary="Ready: 503, with the reason, until the model is loaded and warm", responses=not_so)
    async def readyz() -> Response:
        return _text(engine, well=engine.state is State.READY)

    @routes.get("/metrics", summary="For Prometheus", responses=formats)
    async def metrics(accept: Annotated[str, Header()] = "") -> Response:
        content, kind = await scrapes.exposition(accept)
        return Response(content, headers={"Content-Type": kind})

    return routes


class _Scrapes:
    """One collection answers all scrapes that came before it begins: two hundred cost little more than one."""

    def __init__(self, engine: Scheduler) -> None:
        self._engine = engine
        self._next: asyncio.Task[Callable[[str], tuple[bytes, str]]] | None = None

    async def exposition(self, accept: str) -> tuple[bytes, str]:
        """The metrics, and their content type: what the Accept header asks for."""
        if self._next is None:
            self._next = asyncio.create_task(self._collect())
        return (await asyncio.shield(self._next))(accept)

    async def _collect(self) -> Callable[[str], tuple[bytes, str]]:
        await asyncio.sleep(0)  # the others that the loop has at hand
        self._next = None
        return functools.lru_cache(_FORMATS)(functools.partial(gather.exposition, await self._engine.collect()))


_FORMATS = 4
"""Accept headers that may differ between the scrapes of one collection, before the same text is written again."""


def _text(engine: Scheduler, *, well: bool) -> Response:
    """The reason of a failure may quote an exception, which is not for everybody."""
    words = "the worker has failed: the server's log says why" if engine.state is State.FAILED else engine.reason
    return Response(f"{words}\n", status_code=200 if well else 503, media_type="text/plain")
