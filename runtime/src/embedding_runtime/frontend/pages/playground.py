"""The playground at `/`: three files of this package, which load nothing from other servers."""

from collections.abc import Awaitable, Callable
from pathlib import Path

from fastapi import APIRouter, Response
from fastapi.responses import HTMLResponse

__all__ = ["router"]

_HEADERS = {
    "Content-Security-Policy": "default-src 'self'; img-src data:; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FILES = {"/": "playground.html", "/playground.css": "playground.css", "/playground.js": "playground.js"}
_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


def router() -> APIRouter:
    """The routes. The files of the page are not in the OpenAPI document."""
    routes = APIRouter(tags=["playground"])
    for path, name in _FILES.items():
        file = Path(__file__).parent / "static" / name
        routes.add_api_route(
            path,
            _endpoint(file.read_bytes(), _TYPES[file.suffix]),
            summary="The playground",
            response_class=HTMLResponse,
            include_in_schema=path == "/",
        )
    return routes


def _endpoint(content: bytes, kind: str) -> Callable[[], Awaitable[Response]]:
    async def give() -> Response:
        return Response(content, headers=_HEADERS, media_type=kind)

    return give
