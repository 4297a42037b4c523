"""The OpenAPI document, and `/docs`: Swagger UI with its files, so that it works without internet."""

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
    """An application whose OpenAPI document has the parameters and security that all routes share."""

    def build_middleware_stack(self) -> ASGIApp:
        """Omit Starlette's handler of unhandled exceptions: ObservabilityMiddleware handles them."""
        outermost = super().build_middleware_stack()
        return outermost.app if isinstance(outermost, ServerErrorMiddleware) else outermost

    def openapi(self) -> dict[str, Any]:
        if self.openapi_schema is None:
            document = super().openapi()
            for path, operations in document["paths"].items():
                for method, operation in operations.items():
                    _drop_fastapi_errors(operation["responses"])
                    if method == "post":
                        operation.setdefault("parameters", []).append(_TIMEOUT)
                    if needs_key(method.upper(), path):
                        operation["security"] = [{}, {"Bearer": []}]  # optional: a server may have no keys
            document["components"]["securitySchemes"] = {"Bearer": _BEARER}
            for name in ("HTTPValidationError", "ValidationError"):
                del document["components"]["schemas"][name]
        return super().openapi()


def _drop_fastapi_errors(responses: dict[str, Any]) -> None:
    """Remove FastAPI's own 422 response, which no route returns. A dialect's 422 stays."""
    if "HTTPValidationError" in str(responses.get("422")):
        del responses["422"]


def add_docs(app: FastAPI) -> None:
    """Add the page and its files."""
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
    "description": "timeout of the request in seconds; default and maximum are flags of the server",
    "schema": {"type": "number", "exclusiveMinimum": 0},
}

_BEARER = {"type": "http", "scheme": "bearer", "description": "an API key, if the server requires one"}
