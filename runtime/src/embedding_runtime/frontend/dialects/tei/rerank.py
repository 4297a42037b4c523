"""/rerank: TEI's requests and vLLM's."""

from fastapi import APIRouter, Response

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.rerank.routes import ranking
from embedding_runtime.frontend.dialects.rerank.schema import Reranked, RerankRequest
from embedding_runtime.frontend.dialects.tei.errors import TEI
from embedding_runtime.frontend.dialects.tei.schema import Ranked, TeiRerankRequest
from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.frontend.pipeline.scoring import score_pairs
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["add_rerank", "rerank"]


def add_rerank(service: Service, routes: APIRouter) -> None:
    """Add the route."""

    @routes.post(
        "/rerank",
        summary="Rank texts: TEI's API (texts) or vLLM's (documents)",
        response_model=list[Ranked] | Reranked,
        responses=TEI.failures(),
    )
    async def _(body: TeiRerankRequest, context: Context) -> Response:
        return await rerank(service, body, context)


async def rerank(service: Service, body: TeiRerankRequest, context: RequestContext) -> Response:
    """Handle /rerank, in TEI's or in vLLM's form."""
    if (body.texts is None) == (body.documents is None):
        raise BadRequest(
            "texts: exactly one of texts (TEI's API) and documents (vLLM's API) is required", param="texts"
        )
    given, other = ("texts", "documents") if body.documents is None else ("documents", "texts")
    for name in _GOES_WITH[other]:
        if getattr(body, name) is not None:
            raise BadRequest(
                f"{name} is valid with {other} only: with {given} use {', '.join(_GOES_WITH[given])}", param=name
            )
    if body.texts is None:
        return await ranking(service, context, RerankRequest.model_validate(body.model_dump()), "1")
    service.name_for(body.model)
    pairs = [(body.query, text) for text in body.texts]
    raw = bool(body.raw_scores)
    scores = await score_pairs(
        service, context, pairs, truncate=body.truncate, field="texts", instruction=body.instruction, raw=raw
    )
    return json_of(
        [
            {
                "index": place,
                "score": scores.values[place],
                **({"text": body.texts[place]} if body.return_text else {}),
            }
            for place in scores.best_first()
        ]
    )


_GOES_WITH = {
    "texts": ("return_text", "truncation_direction", "raw_scores"),
    "documents": (
        "return_documents",
        "top_n",
        "max_tokens_per_doc",
        "truncate_prompt_tokens",
        "rank_fields",
        "return_embeddings",
    ),
}
