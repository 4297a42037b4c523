"""Cohere's `/v1/embed` and `/v2/embed`. As in Cohere, texts that are too long are truncated by default."""

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime.contract import Truncate
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.cohere.errors import COHERE
from embedding_runtime.frontend.dialects.cohere.schema import Embedded, EmbeddingType, EmbedRequest, EmbedRequestV2
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.protocol.rows import VectorRows

__all__ = ["embed_v2", "router", "warnings"]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = COHERE.router()
    can_fail = COHERE.failures()

    @routes.post("/v1/embed", summary="Vectors for texts", response_model=Embedded, responses=can_fail)
    async def embed(body: EmbedRequest, context: Context) -> Response:
        service.name_for(body.model)
        options = Options.of(service.spec, truncate=_truncate(service, body), input_type=body.input_type)
        _check_types(service, body.embedding_types or (), options.dimensions)
        rows, tokens = await service.vectors(context, body.texts, options, field="texts")
        if body.embedding_types is None:
            return _answer("1", rows, body.texts, tokens, context)
        return _answer("1", await _by_type(rows, body.embedding_types), body.texts, tokens, context)

    @routes.post("/v2/embed", summary="Vectors for texts", response_model=Embedded, responses=can_fail)
    async def _(body: EmbedRequestV2, context: Context) -> Response:
        return await embed_v2(service, body, context)

    return routes


async def embed_v2(service: Service, body: EmbedRequestV2, context: RequestContext) -> Response:
    """Handle /v2/embed."""
    service.name_for(body.model)
    texts = _texts(body)
    options = Options.of(
        service.spec,
        truncate=_truncate(service, body),
        input_type=body.input_type,
        dimensions=body.output_dimension,
    )
    types = body.embedding_types or ["float"]
    _check_types(service, types, options.dimensions)
    field = "texts" if body.inputs is None else "inputs"
    rows, tokens = await service.vectors(context, texts, options, field=field)
    return _answer("2", await _by_type(rows, types), texts, tokens, context, field=field)


def _truncate(service: Service, body: EmbedRequest | EmbedRequestV2) -> str | None:
    """The request's value, or END, as in Cohere, if --truncate is off."""
    return body.truncate or ("END" if service.spec.truncate is Truncate.OFF else None)


def _texts(body: EmbedRequestV2) -> list[str]:
    if (body.texts is None) == (body.inputs is None):
        raise BadRequest("texts: exactly one of texts and inputs is required", param="texts")
    if body.inputs is None:
        return body.texts or []
    return ["".join(part.text for part in given.content) for given in body.inputs]


def _check_types(service: Service, types: Sequence[EmbeddingType], dimensions: int) -> None:
    """Check the requested types before computing. Raises BadRequest."""
    if not service.spec.normalized and {"int8", "uint8"} & set(types):
        message = "embedding_types: int8 and uint8 need vectors of length 1, which this model's are not"
        raise BadRequest(f"{message}: use float or base64", param="embedding_types")
    if dimensions % 8 and {"binary", "ubinary"} & set(types):
        message = (
            f"embedding_types: binary needs a multiple of 8 dimensions, not {dimensions}: use another size or type"
        )
        raise BadRequest(message, param="embedding_types")


async def _by_type(rows: VectorRows, types: Sequence[EmbeddingType]) -> dict[str, Any]:
    return {kind: await encoded(rows, kind) for kind in types}


def _answer(
    version: str,
    embeddings: Any,
    texts: Sequence[str],
    tokens: int,
    context: RequestContext,
    *,
    field: str = "texts",
) -> Response:
    meta: dict[str, Any] = {"api_version": {"version": version}, "billed_units": {"input_tokens": tokens}}
    if context.truncated:
        meta["warnings"] = warnings(context, field)
    return json_of(
        {
            "id": str(uuid.uuid4()),
            "response_type": "embeddings_by_type" if isinstance(embeddings, dict) else "embeddings_floats",
            "embeddings": embeddings,
            "texts": texts,
            "meta": meta,
        }
    )


def warnings(context: RequestContext, field: str) -> list[str]:
    """A warning for each truncated text of a field."""
    return [f"{field}[{place}] was longer than the model's maximum and was truncated" for place in context.truncated]
