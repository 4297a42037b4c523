"""aiohttp's static files, from a thread: a web server with ranges and ETags."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Self

from aiohttp import web

__all__ = ["WebServer"]


class WebServer:
    """Serves the files of a directory. `seen` has the Authorization and the Range of each request."""

    def __init__(self, directory: Path, *, authorization: str | None = None, tls: ssl.SSLContext | None = None) -> None:
        """`authorization`: the header that requests must have."""
        self.seen: list[tuple[str | None, str | None]] = []
        self._directory, self._authorization, self._tls = directory, authorization, tls
        self._loop, self._started = asyncio.new_event_loop(), threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.port = 0

    @property
    def url(self) -> str:
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        assert self._started.wait(60)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)

    def _run(self) -> None:
        runner = self._loop.run_until_complete(self._start())
        self._started.set()
        self._loop.run_forever()
        self._loop.run_until_complete(runner.cleanup())
        self._loop.close()

    async def _start(self) -> web.AppRunner:
        @web.middleware
        async def watch(
            request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
        ) -> web.StreamResponse:
            given = request.headers.get("Authorization")
            self.seen.append((given, request.headers.get("Range")))
            if self._authorization not in (None, given):
                return web.Response(status=401)
            return await handler(request)

        app = web.Application(middlewares=[watch])
        app.router.add_static("/", self._directory)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=self._tls)
        await site.start()
        self.port = runner.addresses[0][1]
        return runner
