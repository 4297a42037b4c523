"""The front's HTTP application: the routes of all APIs, their failures, their documentation."""

import importlib.metadata

from fastapi import FastAPI

from embedding_runtime.frontend import health
from embedding_runtime.frontend.auth import KeysFile
from embedding_runtime.frontend.dialects.cohere import routes as cohere
from embedding_runtime.frontend.dialects.failures import add_failures, bug, told
from embedding_runtime.frontend.dialects.openai import routes as openai
from embedding_runtime.frontend.dialects.openinference import routes as openinference
from embedding_runtime.frontend.dialects.rerank import routes as rerank
from embedding_runtime.frontend.dialects.tei import routes as tei
from embedding_runtime.frontend.middleware.api_keys import ApiKeyMiddleware
from embedding_runtime.frontend.middleware.body_reader import BodyReader
from embedding_runtime.frontend.middleware.observe import ObservabilityMiddleware
from embedding_runtime.frontend.pages import playground
from embedding_runtime.frontend.pages.docs import Documented, add_docs
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["create_app"]


def create_app(service: Service, keys: KeysFile | None = None) -> FastAPI:
    """One model's application; without keys, for everybody."""
    app = Documented(
        title="embedding-runtime",
        version=importlib.metadata.version("embedding-runtime"),
        description="Embeddings of one model, in the words of OpenAI, Cohere, TEI, vLLM and Open Inference.",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,  # the Host header of a client would be in it
    )
    # Starlette tries one route after the other: what is asked most comes first.
    for prefix in ("/v1", "/openai/v1"):
        app.include_router(openai.router(service), prefix=prefix)
    app.include_router(health.router(service.engine))
    app.include_router(playground.router())
    app.include_router(openinference.router(service))
    for prefix in ("/openai/v1", "/v1", "/v2"):
        app.include_router(rerank.router(service, prefix))
    app.include_router(cohere.router(service))
    app.include_router(tei.router(service))
    app.include_router(rerank.root_router(service))
    add_docs(app)
    add_failures(app)
    # The last one added is the outermost: a request is counted, then let in, then read.
    app.add_middleware(BodyReader, limits=service.limits, refuse=told)
    if keys is not None:
        app.add_middleware(ApiKeyMiddleware, keys=keys, refuse=told)
    app.add_middleware(
        ObservabilityMiddleware, metrics=service.engine.metrics, broken=bug, rate_limit=service.engine.rate_limit
    )
    return app
