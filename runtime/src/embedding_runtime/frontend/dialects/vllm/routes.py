"""vLLM's own paths. /score and /classify need a cross-encoder, /pooling an embedding model."""

import importlib.metadata
import time
import uuid
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.vllm.errors import VLLM
from embedding_runtime.frontend.dialects.vllm.pooling import add_pooling
from embedding_runtime.frontend.dialects.vllm.schema import (
    Classified,
    ClassifyRequest,
    Detokenized,
    DetokenizeRequest,
    Scored,
    ScoreRequest,
    Version,
)
from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.frontend.pipeline.scoring import label, probabilities, score_pairs, truncates_pairs
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.frontend.pipeline.tokens import decode

__all__ = ["classify", "router", "score", "score_router"]


def score_router(service: Service, prefix: str) -> APIRouter:
    """/score under a prefix: /v1, /openai/v1 or none."""
    routes = VLLM.router(prefix)

    @routes.post("/score", summary="Scores for pairs", response_model=Scored, responses=VLLM.failures())
    async def _(body: ScoreRequest, context: Context) -> Response:
        return await score(service, body, context)

    return routes


def router(service: Service) -> APIRouter:
    """The routes that exist without a prefix only."""
    routes = VLLM.router()

    @routes.post("/classify", summary="Labels for texts", response_model=Classified, responses=VLLM.failures())
    async def _(body: ClassifyRequest, context: Context) -> Response:
        return await classify(service, body, context)

    add_pooling(service, routes)

    @routes.post(
        "/detokenize",
        summary="Text of tokens",
        response_model=Detokenized,
        responses=VLLM.failures(
            errors.BadRequest,
            errors.MalformedBody,
            errors.Unauthorized,
            errors.UnknownModel,
            errors.BodyTooLate,
            errors.BodyTooLarge,
            errors.Overloaded,
        ),
    )
    async def detokenize(body: DetokenizeRequest, context: Context) -> Response:
        service.name_for(body.model)
        (text,) = await decode(service, context, [body.tokens], skip_special=False, field="tokens")
        return json_of({"prompt": text})

    @routes.get(
        "/version",
        summary="Version of the runtime",
        response_model=Version,
        responses=VLLM.failures(errors.Unauthorized),
    )
    async def version() -> Response:
        return json_of({"version": importlib.metadata.version("embedding-runtime")})

    return routes


async def score(service: Service, body: ScoreRequest, context: RequestContext) -> Response:
    """Handle /score."""
    name = service.name_for(body.model)
    field, pairs = _pairs(body)
    truncate = truncates_pairs(truncate=body.truncate, keep_tokens=body.truncate_prompt_tokens)
    scores = await score_pairs(
        service, context, pairs, operation="score", truncate=truncate, field=field, instruction=body.instruction
    )
    data = [{"object": "score", "index": index, "score": each} for index, each in enumerate(scores.values)]
    return _listed("score", name, data, scores.usage, context)


async def classify(service: Service, body: ClassifyRequest, context: RequestContext) -> Response:
    """Handle /classify."""
    name = service.name_for(body.model)
    texts = [body.input] if isinstance(body.input, str) else body.input
    rows, tokens = await probabilities(
        service,
        context,
        texts,
        truncate=None if body.truncate_prompt_tokens is None else True,
        raw=body.use_activation is False,
        field="input",
    )
    data = [
        {"index": index, "label": label(service, int(row.argmax())), "probs": row, "num_classes": len(row)}
        for index, row in enumerate(rows)
    ]
    return _listed("classify", name, data, {"prompt_tokens": tokens, "total_tokens": tokens}, context)


def _listed(
    kind: str, name: str, data: list[dict[str, Any]], usage: dict[str, Any], context: RequestContext
) -> Response:
    for index in context.truncated:
        data[index]["truncated"] = True
    return json_of(
        {
            "id": f"{kind}-{uuid.uuid4()}",
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": data,
            "usage": usage,
        }
    )


_FORMS = (("text_1", "text_2"), ("queries", "documents"), ("queries", "items"), ("data_1", "data_2"))


def _pairs(body: ScoreRequest) -> tuple[str, list[tuple[str, str]]]:
    """The name of the second field, and the pairs. Raises BadRequest."""
    fields = dict.fromkeys(name for form in _FORMS for name in form)
    given = {name: texts for name in fields if (texts := getattr(body, name)) is not None}
    if tuple(given) not in _FORMS:
        raise BadRequest("text_1: either text_1 and text_2, or queries and documents are required", param="text_1")
    (first, left), (second, right) = (
        (name, [texts] if isinstance(texts, str) else texts) for name, texts in given.items()
    )
    if len(left) == 1:
        left = left * len(right)
    if len(left) != len(right):
        message = f"{first} has {len(left)} texts, but {second} has {len(right)}: send one, or as many as in {second}"
        raise BadRequest(message, param=first)
    return second, list(zip(left, right, strict=True))
