"""The front's HTTP application: the routes of all APIs, their failures, their documentation."""

import importlib.metadata

from fastapi import FastAPI

from embedding_runtime.api import cohere, health, openai, openinference, playground, rerank, tei
from embedding_runtime.api.docs import Documented, add_docs
from embedding_runtime.api.failures import add_failures, bug, told
from embedding_runtime.api.guard import Guard
from embedding_runtime.api.limits import Intake
from embedding_runtime.api.service import Service
from embedding_runtime.api.watch import Watch
from embedding_runtime.auth import KeysFile

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
    app.add_middleware(Intake, limits=service.limits, refuse=told)
    if keys is not None:
        app.add_middleware(Guard, keys=keys, refuse=told)
    app.add_middleware(Watch, metrics=service.engine.metrics, broken=bug)
    return app
