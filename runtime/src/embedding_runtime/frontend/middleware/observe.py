"""The outermost middleware: creates the request context, and counts, times, traces and logs each request."""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from contextlib import nullcontext
from http import HTTPStatus

from fastapi import Request, Response
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedding_runtime.errors import ClientGone, NotReady, RuntimeFault
from embedding_runtime.frontend.context import RequestContext, request_id
from embedding_runtime.frontend.health import PROBES
from embedding_runtime.observability import tracing
from embedding_runtime.observability.logs import ACCESS, REQUEST_ID
from embedding_runtime.observability.metrics import Metrics
from embedding_runtime.protocol.requests import Principal, RateLimit

__all__ = ["ObservabilityMiddleware"]

_log = logging.getLogger(__name__)


class ObservabilityMiddleware:
    """ASGI middleware. `broken` creates the response to an unhandled exception, `refuse` that to a fault.

    Probes are counted, but not logged or traced.
    """

    def __init__(
        self,
        app: ASGIApp,
        metrics: Metrics,
        broken: Callable[[Request, Exception], Awaitable[Response]],
        refuse: Callable[[Request, RuntimeFault], Awaitable[Response]],
        rate_limit: Callable[[Principal], RateLimit | None],
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._broken, self._refuse, self._rate_limit = broken, refuse, rate_limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begin = time.perf_counter()
        headers = Headers(scope=scope)
        state, client = scope.setdefault("state", {}), scope.get("client")
        context = RequestContext(
            request_id(headers.get("x-request-id")),
            Principal(client[0] if client else ""),
            answer_share=state.get("answer_share"),
            client=state.get("client"),
        )
        state["context"] = context
        REQUEST_ID.set(context.id)
        code: int | None = None

        async def answer(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                context.rate_limit = self._rate_limit(context.principal)
                message["headers"] += [
                    (name.lower().encode(), value.encode("latin-1")) for name, value in context.headers.items()
                ]
            await send(message)

        probe = scope["path"] in PROBES
        with nullcontext() if probe else tracing.request(scope["method"], headers):
            try:
                await self._app(scope, receive, answer)
            except asyncio.CancelledError:  # what is left after the grace period, such as an incomplete upload
                if code is not None:
                    raise
                await (await self._refuse(Request(scope), NotReady("the server is stopping")))(scope, receive, answer)
            except Exception as error:
                _log.exception("internal server error")
                if code is not None:  # the response has started
                    raise
                await (await self._broken(Request(scope), error))(scope, receive, answer)
            finally:
                # The route's template, so that the metrics have few different values.
                path = getattr(scope.get("route"), "path", "unmatched")
                seconds = time.perf_counter() - begin
                self._report(context, scope["method"], path, code or ClientGone.status, seconds, probe=probe)

    def _report(
        self, context: RequestContext, method: str, path: str, code: int, seconds: float, *, probe: bool
    ) -> None:
        self._metrics.request(method=method, path=path, code=code, seconds=seconds)
        if context.fault is not None:
            self._metrics.rejected(context.fault, context.lane)
        if probe:
            return
        if ACCESS.isEnabledFor(logging.INFO):
            fields = {
                "status": code,
                "fault": context.fault,
                "texts": context.texts,
                "tokens": context.tokens,
                "ms": round(1000 * seconds, 1),
                "key": context.key,
            }
            known = {name: value for name, value in fields.items() if value is not None}
            ACCESS.info("%s %s", method, path, extra={"fields": known})
        tracing.annotate(
            {
                "http.request.method": method,
                "http.route": path,
                "http.response.status_code": code,
                "gen_ai.usage.input_tokens": context.tokens,
                "embedding.texts": context.texts,
                "embedding.request_id": context.id,
            },
            name=f"{method} {path}",
            failed=code >= HTTPStatus.INTERNAL_SERVER_ERROR,
        )
