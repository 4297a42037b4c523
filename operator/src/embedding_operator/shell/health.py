"""GET /healthz and /readyz for the kubelet, /metrics for Prometheus."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from embedding_operator.shell.metrics import Metrics

__all__ = ["Check", "serve_health"]

Check = Callable[[], str | None]
"""What is wrong, or None."""


@asynccontextmanager
async def serve_health(port: int, metrics: Metrics, *, healthy: Check, ready: Check) -> AsyncIterator[None]:
    """Listen on all addresses of the pod. `healthy`: the process works and need not be restarted. `ready`: it leads, or
    could. Raises OSError when the port is taken.
    """

    async def healthz(_: web.Request) -> web.Response:
        return _answer(healthy())

    async def readyz(_: web.Request) -> web.Response:
        return _answer(ready())

    async def text(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4; charset=utf-8"})

    app = web.Application()
    app.router.add_get("/healthz", healthz)
    app.router.add_get("/readyz", readyz)
    app.router.add_get("/metrics", text)
    runner = web.AppRunner(app, handle_signals=False, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, port=port).start()
        yield
    finally:
        await runner.cleanup()


def _answer(problem: str | None) -> web.Response:
    return web.Response(text="ok\n") if problem is None else web.Response(status=503, text=f"{problem}\n")
