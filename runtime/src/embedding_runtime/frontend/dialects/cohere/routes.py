"""Cohere's `/v1/embed` and `/v2/embed`. What its users never set is as it is there: too long a text loses its end."""

import uuid
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.dialects.bodies import BodyRoute, Context
from embedding_runtime.frontend.dialects.cohere.schema import Embedded, EmbeddingType, EmbedRequest, EmbedRequestV2
from embedding_runtime.frontend.dialects.errors import CohereError, failures
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.protocol.messages import VectorRows

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=BodyRoute, tags=["Cohere"], responses=failures(CohereError))

    @routes.post("/v1/embed", summary="Vectors for texts", response_model=Embedded)
    async def embed(body: EmbedRequest, context: Context) -> Response:
        service.check_model(body.model)
        options = Options.of(service.spec, truncate=body.truncate or "END", input_type=body.input_type)
        _check_types(body.embedding_types or (), options.dimensions)
        rows, tokens = await service.vectors(context, body.texts, options, field="texts")
        if body.embedding_types is None:
            return _answer("1", "embeddings_floats", rows, body.texts, tokens)
        return _answer("1", "embeddings_by_type", await _by_type(rows, body.embedding_types), body.texts, tokens)

    @routes.post("/v2/embed", summary="Vectors for texts", response_model=Embedded)
    async def embed_v2(body: EmbedRequestV2, context: Context) -> Response:
        service.check_model(body.model)
        texts = _texts(body)
        options = Options.of(
            service.spec,
            truncate=body.truncate or "END",
            input_type=body.input_type,
            dimensions=body.output_dimension,
        )
        types = body.embedding_types or ["float"]
        _check_types(types, options.dimensions)
        rows, tokens = await service.vectors(context, texts, options, field="inputs" if body.inputs else "texts")
        return _answer("2", "embeddings_by_type", await _by_type(rows, types), texts, tokens)

    return routes


def _texts(body: EmbedRequestV2) -> list[str]:
    if (body.texts is None) == (body.inputs is None):
        raise BadRequest("texts: give either texts or inputs", param="texts")
    if body.inputs is None:
        return body.texts or []
    return ["".join(part.text for part in given.content) for given in body.inputs]


def _check_types(types: Sequence[EmbeddingType], dimensions: int) -> None:
    """Before anything is computed. Raises BadRequest."""
    if dimensions % 8 and {"binary", "ubinary"} & set(types):
        message = f"embedding_types: {dimensions} dimensions do not fill bytes: binary takes a multiple of 8"
        raise BadRequest(message, param="embedding_types")


async def _by_type(rows: VectorRows, types: Sequence[EmbeddingType]) -> dict[str, Any]:
    return {kind: await encoded(rows, kind) for kind in types}


def _answer(version: str, kind: str, embeddings: Any, texts: Sequence[str], tokens: int) -> Response:
    return json_of(
        {
            "id": str(uuid.uuid4()),
            "response_type": kind,
            "embeddings": embeddings,
            "texts": texts,
            "meta": {"api_version": {"version": version}, "billed_units": {"input_tokens": tokens}},
        }
    )
