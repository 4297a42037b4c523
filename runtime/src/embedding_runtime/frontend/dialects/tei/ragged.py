"""Text Embeddings Inference's /embed_sparse (SPLADE, BGE-M3) and /embed_all (a vector for each token, without pooling).

Shapes and semantics as in router/src/http/{types,server}.rs of huggingface/text-embeddings-inference: a sparse vector
has its numbers above zero, by ascending index; /embed_all includes special tokens. A single text is a list of one.
"""

from typing import Annotated

from fastapi import APIRouter, Response
from pydantic import Field

from embedding_runtime.contract import Kind
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import RequestBody, SparseValue, Text, Texts, Vector
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.tei.errors import TEI
from embedding_runtime.frontend.dialects.tei.fields import HUB, IGNORED, IN_EMBED_ALL, IN_EMBED_SPARSE
from embedding_runtime.frontend.dialects.tei.schema import Direction, ModelName, NoParameters
from embedding_runtime.frontend.pipeline.answers import json_of, token_vectors, weights
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["EmbedAllRequest", "EmbedSparseRequest", "add_ragged", "embed_sparse"]


class _Request(RequestBody):
    dropped = frozenset({"inputs"})
    ignored = IGNORED | HUB

    model: ModelName | None = None

    inputs: Texts
    truncate: Annotated[bool | None, Field(description="truncate texts that are too long; default: --truncate")] = None
    truncation_direction: Annotated[
        Direction | None, Field(description="end at which texts are truncated; default with truncate: right")
    ] = None
    prompt_name: Annotated[
        Text | None,
        Field(description="name of the prompt that is put before the texts: one of `prompts` in /v1/models"),
    ] = None
    parameters: NoParameters = None


class EmbedSparseRequest(_Request):
    """`POST /embed_sparse`, for a sparse encoder or BGE-M3."""

    refused = IN_EMBED_SPARSE


class EmbedAllRequest(_Request):
    """`POST /embed_all`, for an embedding model."""

    refused = IN_EMBED_ALL


def add_ragged(service: Service, routes: APIRouter) -> None:
    """Add the routes."""

    @routes.post(
        "/embed_sparse",
        summary="Sparse vectors for texts",
        response_model=list[list[SparseValue]],
        responses=TEI.failures(),
    )
    async def _(body: EmbedSparseRequest, context: Context) -> Response:
        return await embed_sparse(service, body, context)

    @routes.post(
        "/embed_all",
        summary="Vectors for all tokens of texts, without pooling",
        response_model=list[list[Vector]],
        responses=TEI.failures(),
    )
    async def _(body: EmbedAllRequest, context: Context) -> Response:
        options = _options(service, body, Kind.EMBEDDING_MODEL)
        rows, _ = await service.token_vectors(context, body.inputs, options, field="inputs")
        return json_of(await token_vectors(rows))


async def embed_sparse(service: Service, body: EmbedSparseRequest, context: RequestContext) -> Response:
    """Handle /embed_sparse."""
    options = _options(service, body, Kind.SPARSE_ENCODER)
    rows, _ = await service.sparse_vectors(context, body.inputs, options, field="inputs")
    return json_of(await weights(rows))


def _options(service: Service, body: _Request, kind: Kind) -> Options:
    service.name_for(body.model)
    side = body.truncation_direction or ("right" if body.truncate else None)
    return Options.of(service.spec, truncate=body.truncate, sides=(side,), prompt_name=body.prompt_name, kind=kind)
