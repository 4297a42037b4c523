"""A reverse proxy in front of the API server that counts requests, and that can cut every connection.

A process of its own, so that its CPU time is not the operator's. The operator speaks plain HTTP to it on loopback; it
passes everything on with the credentials of the kubeconfig. On a second port:

  GET  /counts    what went through so far
  POST /cut       close all connections and the port: the API server is away
  POST /restore   open the port again

Usage: python -m bench.operator.proxy KUBECONFIG    prints its two ports as a JSON list
"""

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import aiohttp
from aiohttp import web

from bench.operator.client import Access, access
from bench.operator.counts import Counts, classify

__all__ = ["Proxy", "main", "serve"]

_HOST = "127.0.0.1"
_LARGEST_BODY = 2**24  # bytes
_OF_ONE_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding", "upgrade"})
_PASSED_AS_THEY_ARE = ("Accept", "Accept-Encoding", "Content-Type", "User-Agent")


class Proxy:
    """Passes requests on and counts them."""

    def __init__(self, session: aiohttp.ClientSession, to: Access) -> None:
        self.counts = Counts()
        self._session = session
        self._to = to

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Streams the response of the API server, because the response of a watch does not end."""
        self.counts.note(classify(request.method, request.path, request.query))
        body = await request.read()
        self.counts.sent += len(body)
        headers = {name: value for name, value in request.headers.items() if name.lower() not in _OF_ONE_HOP}
        url = self._to.server.join(request.rel_url)
        try:
            async with self._session.request(
                request.method, url, data=body or None, headers={**headers, **self._to.headers}
            ) as upstream:
                return await self._pass_on(request, upstream)
        except aiohttp.ClientConnectionError as error:
            if request.transport:  # what the operator would see of an API server that is away
                request.transport.abort()
            raise ConnectionResetError("the API server or the operator hung up") from error

    async def _pass_on(self, request: web.Request, upstream: aiohttp.ClientResponse) -> web.StreamResponse:
        if upstream.status >= 400:  # noqa: PLR2004 HTTP's own line between answers and errors
            self.counts.failures[str(upstream.status)] += 1
        kept = [(name, value) for name, value in upstream.headers.items() if name.lower() not in _OF_ONE_HOP]
        response = web.StreamResponse(status=upstream.status, reason=upstream.reason)
        response.headers.extend(kept)
        await response.prepare(request)
        async for chunk in upstream.content.iter_any():
            self.counts.received += len(chunk)
            await response.write(chunk)
        await response.write_eof()
        return response


class _Port:
    """The port that the operator connects to; it can be closed and opened again."""

    def __init__(self, runner: web.AppRunner) -> None:
        self._runner = runner
        self._site: web.TCPSite | None = None
        self.number = 0

    async def open(self) -> None:
        if self._site:
            return
        self._site = web.TCPSite(self._runner, _HOST, self.number, reuse_address=True)
        await self._site.start()
        self.number = self._site.port  # the same one after a cut

    async def cut(self) -> None:
        if self._site:
            await self._site.stop()
            self._site = None
        assert self._runner.server
        for connection in self._runner.server.connections:
            if connection.transport:
                connection.transport.abort()


@asynccontextmanager
async def serve(to: Access) -> AsyncIterator[tuple[int, int]]:
    """The two ports, the operator's and that of the controls, while the context lasts."""
    session = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, ssl=to.tls),
        timeout=aiohttp.ClientTimeout(total=None),
        auto_decompress=False,
        skip_auto_headers=_PASSED_AS_THEY_ARE,
    )
    async with session:
        proxy = Proxy(session, to)
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", proxy.handle)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, handler_cancellation=True)
        await runner.setup()
        port = _Port(runner)
        await port.open()
        controls = web.AppRunner(_controls(proxy, port), access_log=None, handle_signals=False)
        await controls.setup()
        site = web.TCPSite(controls, _HOST, 0)
        await site.start()
        try:
            yield port.number, site.port
        finally:
            await port.cut()
            await controls.cleanup()
            await runner.cleanup()


def _controls(proxy: Proxy, port: _Port) -> web.Application:
    async def counts(_: web.Request) -> web.Response:
        return web.json_response(proxy.counts.to_json())

    async def cut(_: web.Request) -> web.Response:
        await port.cut()
        return web.Response()

    async def restore(_: web.Request) -> web.Response:
        await port.open()
        return web.Response()

    app = web.Application()
    app.add_routes([web.get("/counts", counts), web.post("/cut", cut), web.post("/restore", restore)])
    return app


async def main(kubeconfig: Path) -> None:
    """Serve until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with serve(await access(kubeconfig)) as ports:
        print(json.dumps(ports), flush=True)
        await stop.wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(main(Path(sys.argv[1])))
