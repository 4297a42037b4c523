"""Scores of pairs: rerank as Cohere, Jina and TEI have it, score as vLLM has it. Needs a cross-encoder."""

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from fastapi import APIRouter, Response

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import BodyRoute, Context
from embedding_runtime.frontend.dialects.errors import CohereError, OpenAIError, TeiError, failures
from embedding_runtime.frontend.dialects.rerank.schema import (
    Ranked,
    Reranked,
    RerankRequest,
    RootRerankRequest,
    Scored,
    ScoreRequest,
)
from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["root_router", "router"]


def router(service: Service, prefix: str) -> APIRouter:
    """The routes under `prefix`: /v1, /v2 (of which score is no part) or /openai/v1."""
    routes = APIRouter(prefix=prefix, route_class=BodyRoute, tags=["Rerank"])
    version = prefix.rpartition("v")[2]
    shape = OpenAIError if prefix.startswith("/openai") else CohereError

    @routes.post("/rerank", summary="The best documents", response_model=Reranked, responses=failures(shape))
    async def rerank(body: RerankRequest, context: Context) -> Response:
        return await _reranked(service, context, body, version)

    if version == "1":

        @routes.post("/score", summary="Scores of pairs", response_model=Scored, responses=failures(OpenAIError))
        async def score(body: ScoreRequest, context: Context) -> Response:
            service.check_model(body.model)
            field, pairs = _pairs(body)
            truncate = bool(body.truncate) or body.truncate_prompt_tokens is not None
            found = await _scores(service, context, pairs, operation="score", truncate=truncate, field=field)
            return json_of(
                {
                    "id": f"score-{uuid.uuid4()}",
                    "object": "list",
                    "created": int(time.time()),
                    "model": service.name,
                    "data": [
                        {"object": "score", "index": index, "score": each} for index, each in enumerate(found.scores)
                    ],
                    "usage": found.usage,
                }
            )

    return routes


def root_router(service: Service) -> APIRouter:
    """At the root, where TEI has it, and vLLM."""
    routes = APIRouter(route_class=BodyRoute, tags=["Text Embeddings Inference"])

    @routes.post(
        "/rerank",
        summary="The best texts, as TEI (texts) or vLLM (documents) have it",
        response_model=list[Ranked] | Reranked,
        responses=failures(TeiError),
    )
    async def rerank(body: RootRerankRequest, context: Context) -> Response:
        texts = body.texts
        if texts is None and body.documents is not None:
            for name in ("return_text", "truncation_direction"):
                if getattr(body, name) is not None:
                    raise BadRequest(f"{name} goes with texts; with documents there is return_documents", param=name)
            given = body.model_dump(exclude={"model"})
            asked = RerankRequest.model_validate({"model": body.model or service.name, **given})
            return await _reranked(service, context, asked, "1")
        if texts is None or body.documents is not None:
            raise BadRequest("texts: give either texts (as TEI has it) or documents (as vLLM has it)", param="texts")
        if body.model is not None:
            service.check_model(body.model)
        for name in ("top_n", "max_tokens_per_doc", "return_documents"):
            if getattr(body, name) is not None:
                raise BadRequest(f"{name} goes with documents; with texts there is return_text", param=name)
        pairs = [(body.query, text) for text in texts]
        found = await _scores(service, context, pairs, truncate=bool(body.truncate), field="texts")
        return json_of(
            [
                {
                    "index": place,
                    "score": found.scores[place],
                    **({"text": texts[place]} if body.return_text else {}),
                }
                for place in found.best_first()
            ]
        )

    return routes


async def _reranked(service: Service, context: RequestContext, body: RerankRequest, version: str) -> Response:
    service.check_model(body.model)
    if body.max_tokens_per_doc is not None and body.max_tokens_per_doc < service.spec.max_length:
        message = f"max_tokens_per_doc: pairs are cut at the {service.spec.max_length} tokens that the model takes, not"
        raise BadRequest(f"{message} at {body.max_tokens_per_doc}: leave it out", param="max_tokens_per_doc")
    texts = [given if isinstance(given, str) else given.text for given in body.documents]
    pairs = [(body.query, text) for text in texts]
    found = await _scores(service, context, pairs, truncate=body.truncate is not False, field="documents")
    return json_of(
        {
            "id": str(uuid.uuid4()),
            "model": service.name,
            "results": [
                {
                    "index": place,
                    "relevance_score": found.scores[place],
                    **({"document": {"text": texts[place]}} if body.return_documents else {}),
                }
                for place in found.best_first()[: body.top_n]
            ],
            "usage": found.usage,
            "meta": {"api_version": {"version": version}, "billed_units": {"search_units": 1}},
        }
    )


@dataclass(frozen=True)
class _Found:
    scores: npt.NDArray[np.float32]
    """One a pair, in their order."""
    tokens: int

    @property
    def usage(self) -> dict[str, Any]:
        return {"prompt_tokens": self.tokens, "total_tokens": self.tokens}

    def best_first(self) -> list[int]:
        """Places of the pairs; of equal ones the first comes first."""
        order: list[int] = np.argsort(-self.scores, kind="stable").tolist()
        return order


async def _scores(
    service: Service,
    context: RequestContext,
    pairs: Sequence[tuple[str, str]],
    *,
    truncate: bool,
    field: str,
    operation: str = "rerank",
) -> _Found:
    """Raises BadRequest for a model that gives a pair no score, or several."""
    scores = service.spec.scores
    if scores is not None and scores.labels != 1:
        raise BadRequest(
            f"{service.name} gives a pair {scores.labels} scores, of which none ranks: they are at "
            f"/v2/models/{service.name}/infer"
        )
    rows, tokens = await service.scores(context, pairs, operation=operation, truncate=truncate, field=field)
    return _Found(rows[:, 0], tokens)


def _pairs(body: ScoreRequest) -> tuple[str, list[tuple[str, str]]]:
    """What the texts on the right are called, and the pairs. Raises BadRequest."""
    given = {"text_1": body.text_1, "text_2": body.text_2, "queries": body.queries, "documents": body.documents}
    named = {name: [texts] if isinstance(texts, str) else texts for name, texts in given.items() if texts is not None}
    if tuple(named) not in {("text_1", "text_2"), ("queries", "documents")}:
        raise BadRequest("text_1: give text_1 and text_2, or queries and documents", param="text_1")
    (first, left), (second, right) = named.items()
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        message = f"{first} has {len(left)} texts, {second} {len(right)}: give one, or as many as there"
        raise BadRequest(message, param=first)
    return second, list(zip(left, right, strict=True))
