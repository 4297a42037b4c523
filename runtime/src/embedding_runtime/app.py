"""The front's HTTP application: the routes of all APIs, their failures, their documentation."""

import importlib.metadata

from fastapi import FastAPI

from embedding_runtime.api import cohere, health, openai, openinference, rerank, tei
from embedding_runtime.api.docs import add_docs
from embedding_runtime.api.failures import add_failures, told
from embedding_runtime.api.limits import Intake
from embedding_runtime.api.service import Service

__all__ = ["create_app"]


def create_app(service: Service) -> FastAPI:
    """One model's application."""
    app = FastAPI(
        title="embedding-runtime",
        version=importlib.metadata.version("embedding-runtime"),
        description="Embeddings of one model, in the words of OpenAI, Cohere, TEI, vLLM and Open Inference.",
        docs_url=None,
        redoc_url=None,
    )
    app.include_router(health.router(service.engine))
    app.include_router(openinference.router(service))  # before OpenAI's: /v1/models/NAME:predict is in /v1/models/...
    for prefix in ("/openai/v1", "/v1"):
        app.include_router(openai.router(service), prefix=prefix)
    for prefix in ("/openai/v1", "/v1", "/v2"):
        app.include_router(rerank.router(service, prefix))
    app.include_router(cohere.router(service))
    app.include_router(tei.router(service))
    app.include_router(rerank.root_router(service))
    add_docs(app)
    add_failures(app)
    app.add_middleware(Intake, limits=service.limits, refuse=told)
    return app
