"""The frontend's HTTP application: routes of all APIs, error handlers and documentation."""

import copy
import importlib.metadata
import re

from fastapi import FastAPI
from fastapi.routing import APIRoute

from embedding_runtime.frontend import health
from embedding_runtime.frontend.auth import KeysFile
from embedding_runtime.frontend.dialects.bodies import BodyRoute
from embedding_runtime.frontend.dialects.cohere import routes as cohere
from embedding_runtime.frontend.dialects.failures import Failures
from embedding_runtime.frontend.dialects.openai import routes as openai
from embedding_runtime.frontend.dialects.openai.errors import OPENAI
from embedding_runtime.frontend.dialects.openinference import routes as openinference
from embedding_runtime.frontend.dialects.rerank import routes as rerank
from embedding_runtime.frontend.dialects.sagemaker import routes as sagemaker
from embedding_runtime.frontend.dialects.tei import routes as tei
from embedding_runtime.frontend.dialects.vllm import routes as vllm
from embedding_runtime.frontend.dialects.weaviate import routes as weaviate
from embedding_runtime.frontend.middleware.api_keys import ApiKeyMiddleware
from embedding_runtime.frontend.middleware.body_reader import BodyReader
from embedding_runtime.frontend.middleware.cors import CorsRules
from embedding_runtime.frontend.middleware.direct import DirectRoutes
from embedding_runtime.frontend.middleware.observe import ObservabilityMiddleware
from embedding_runtime.frontend.pages import playground
from embedding_runtime.frontend.pages.docs import Documented, add_docs
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["create_app"]


def create_app(service: Service, keys: KeysFile | None = None, cors: CorsRules | None = None) -> FastAPI:
    """Create the application of a model. Without `keys`, no API key is needed; without `cors`, no origin is allowed."""
    app = Documented(
        title="embedding-runtime",
        version=importlib.metadata.version("embedding-runtime"),
        description="Embeddings or scores of one model, with the APIs of OpenAI, Cohere, TEI, vLLM, Open Inference "
        "and Weaviate.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would contain the client's Host header
        generate_unique_id_function=_operation_id,
    )
    for router in (
        # Starlette tries routes in order: the most frequent ones come first.
        *(openai.router(service, prefix) for prefix in ("/v1", "/openai/v1")),
        health.router(service.engine),
        playground.router(),
        openinference.router(service),
        *(rerank.router(service, prefix) for prefix in ("/openai/v1", "/v1", "/v2")),
        *(vllm.score_router(service, prefix) for prefix in ("/openai/v1", "/v1", "")),
        cohere.router(service),
        tei.router(service),
        vllm.router(service),
        weaviate.router(service),
        sagemaker.router(service),
        openai.router(service, ""),
    ):
        app.include_router(router)
    add_docs(app)
    _add_head_routes(app)
    failures = Failures(app, OPENAI)
    bodies = [route for route in app.routes if isinstance(route, BodyRoute) and route.bodies]
    app.add_middleware(DirectRoutes, routes=bodies, refuse=failures.refused)
    # The last one is the outermost: observability, CORS preflight, API key, body.
    app.add_middleware(BodyReader, limits=service.limits, refuse=failures.refused)
    if keys is not None:
        app.add_middleware(ApiKeyMiddleware, keys=keys, refuse=failures.refused)
    if cors is not None:
        cors.add_to(app)
    app.add_middleware(
        ObservabilityMiddleware,
        metrics=service.engine.metrics,
        broken=failures.broken,
        refuse=failures.refused,
        rate_limit=service.engine.rate_limit,
    )
    return app


def _operation_id(route: APIRoute) -> str:
    """The operation id in the OpenAPI document, such as post_v1_embeddings."""
    return re.sub(r"\W+", "_", f"{min(route.methods).lower()}{route.path_format}").strip("_")


def _add_head_routes(app: FastAPI) -> None:
    """Add a HEAD route for every GET route. The HTTP server omits the body."""
    for route in [route for route in app.routes if isinstance(route, APIRoute) and "GET" in route.methods]:
        head = copy.copy(route)
        head.methods, head.include_in_schema = {"HEAD"}, False
        app.router.routes.append(head)
