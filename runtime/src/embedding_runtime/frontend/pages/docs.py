"""The OpenAPI document, and `/docs`: Swagger UI from this process, for machines without internet."""

from pathlib import Path
from typing import Any

import fastapi_offline
from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware.errors import ServerErrorMiddleware
from starlette.responses import HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from embedding_runtime.frontend.limits import TIMEOUT_HEADER
from embedding_runtime.frontend.middleware.api_keys import needs_key

__all__ = ["Documented", "add_docs"]

_FILES = Path(fastapi_offline.__file__).parent / "static"


class Documented(FastAPI):
    """Its document has what all routes have in common."""

    def build_middleware_stack(self) -> ASGIApp:
        """Without the layer that answers exceptions: our outermost one does."""
        outermost = super().build_middleware_stack()
        return outermost.app if isinstance(outermost, ServerErrorMiddleware) else outermost

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _drop_fastapis_own(operation["responses"])
                    if method == "post":
                        operation.setdefault("parameters", []).append(_TIMEOUT)
                    if needs_key(method.upper(), path):
                        operation["security"] = [{}, {"Bearer": []}]  # either: a server may have no keys
            document["components"]["securitySchemes"] = {"Bearer": _BEARER}
            for name in ("HTTPValidationError", "ValidationError"):
                del document["components"]["schemas"][name]
        return super().openapi()


def _drop_fastapis_own(responses: dict[str, Any]) -> None:
    """FastAPI documents its own answer to a wrong body, which no route gives, unless a dialect has that status."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]


def add_docs(app: FastAPI) -> None:
    """The page, and what it loads."""
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

_BEARER = {"type": "http", "scheme": "bearer", "description": "one of the server's API keys, where it has keys"}
