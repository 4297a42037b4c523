"""Ranking of documents for clients of Cohere, Jina, Voyage and vLLM. It needs a cross-encoder."""

import uuid
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.cohere.errors import COHERE
from embedding_runtime.frontend.dialects.cohere.routes import warnings
from embedding_runtime.frontend.dialects.openai.errors import OPENAI
from embedding_runtime.frontend.dialects.rerank.schema import Reranked, RerankRequest
from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.frontend.pipeline.scoring import score_pairs, truncates_pairs
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["ranking", "router"]


def router(service: Service, prefix: str) -> APIRouter:
    """The route under /v1, /v2 or /openai/v1. The last has OpenAI's error format, the others Cohere's."""
    dialect = OPENAI if prefix.startswith("/openai") else COHERE
    routes = dialect.router(prefix)
    version = prefix.rpartition("v")[2]

    @routes.post("/rerank", summary="Rank documents", response_model=Reranked, responses=dialect.failures())
    async def rerank(body: RerankRequest, context: Context) -> Response:
        return await ranking(service, context, body, version)

    return routes


async def ranking(service: Service, context: RequestContext, body: RerankRequest, version: str) -> Response:
    """Handle a request, with Cohere's API `version` in the response."""
    name = service.name_for(body.model)
    if body.max_tokens_per_doc and body.max_tokens_per_doc < service.spec.max_length:
        message = (
            f"max_tokens_per_doc={body.max_tokens_per_doc} is not supported: pairs are truncated at the model's maximum"
        )
        raise BadRequest(f"{message} of {service.spec.max_length} tokens; remove the field", param="max_tokens_per_doc")
    truncate = truncates_pairs(truncate=body.truncate, keep_tokens=body.truncate_prompt_tokens, default=True)
    texts = [given if isinstance(given, str) else given.text for given in body.documents]
    pairs = [(body.query, text) for text in texts]
    scores = await score_pairs(
        service, context, pairs, truncate=truncate, field="documents", instruction=body.instruction
    )
    meta: dict[str, Any] = {"api_version": {"version": version}, "billed_units": {"search_units": 1}}
    if context.truncated:
        meta["warnings"] = warnings(context, "documents")
    return json_of(
        {
            "id": str(uuid.uuid4()),
            "model": name,
            "results": [
                {
                    "index": place,
                    "relevance_score": scores.values[place],
                    **({"document": {"text": texts[place]}} if body.return_documents else {}),
                }
                for place in scores.best_first()[: body.top_n or None]
            ],
            "usage": scores.usage,
            "meta": meta,
        }
    )
