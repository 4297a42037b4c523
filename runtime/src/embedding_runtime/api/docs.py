"""`/docs`: Swagger UI from this process, for machines without internet."""

from pathlib import Path

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.routing import APIRoute
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles

from embedding_runtime.api.limits import TIMEOUT_HEADER

__all__ = ["add_docs"]

_FILES = Path(fastapi_offline.__file__).parent / "static"


def add_docs(app: FastAPI) -> None:
    """The page, and what it loads; and in the document, of each route that is there already, the header of limits."""
    for route in app.routes:
        if isinstance(route, APIRoute) and "POST" in route.methods:
            route.openapi_extra = {"parameters": [_TIMEOUT]}
    app.mount("/docs/files", StaticFiles(directory=_FILES))
    routes = APIRouter(include_in_schema=False)

    @routes.get("/docs")
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url="openapi.json",
            title=f"{app.title}: the API",
            swagger_js_url="docs/files/swagger-ui-bundle.js",
            swagger_css_url="docs/files/swagger-ui.css",
            swagger_favicon_url="docs/files/favicon.png",
        )

    app.include_router(routes)


_TIMEOUT = {
    "name": TIMEOUT_HEADER,
    "in": "header",
    "required": False,
    "description": "seconds that the request has, until its answer begins; the server's flags have default and limit",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}
