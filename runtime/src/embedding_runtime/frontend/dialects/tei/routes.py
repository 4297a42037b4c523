"""Text Embeddings Inference's paths."""

import importlib.metadata
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.contract import Kind, Truncate
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import RequestBody, SparseValue, Vector
from embedding_runtime.frontend.dialects.bodies import Choice, Context
from embedding_runtime.frontend.dialects.tei.errors import TEI
from embedding_runtime.frontend.dialects.tei.ragged import EmbedSparseRequest, add_ragged, embed_sparse
from embedding_runtime.frontend.dialects.tei.rerank import add_rerank
from embedding_runtime.frontend.dialects.tei.schema import (
    EmbedRequest,
    Info,
    Prediction,
    PredictRequest,
    SimilarityParameters,
    SimilarityRequest,
)
from embedding_runtime.frontend.dialects.tei.tokenize import add_tokens
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.scoring import label, probabilities
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["RootRequest", "at_root", "embed", "predict", "request_at_root", "router", "similarity"]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = TEI.router()

    def choose(content: Mapping[str, Any]) -> type[RequestBody]:
        return request_at_root(content, service.spec.kind)

    @routes.post("/embed", summary="Vectors for texts", response_model=list[Vector], responses=TEI.failures())
    async def _(body: EmbedRequest, context: Context) -> Response:
        return await embed(service, body, context)

    add_ragged(service, routes)

    @routes.post(
        "/",
        summary="/embed, /embed_sparse or /predict, by the model's kind; with a source_sentence in inputs, /similarity",
        response_model=list[Vector] | list[float] | list[list[SparseValue]] | list[Prediction] | list[list[Prediction]],
        responses=TEI.failures(),
    )
    async def root(body: Annotated[RootRequest, Choice(choose)], context: Context) -> Response:
        return await at_root(service, body, context)

    @routes.post(
        "/predict",
        summary="Labels for texts or pairs",
        response_model=list[Prediction] | list[list[Prediction]],
        responses=TEI.failures(),
    )
    async def _(body: PredictRequest, context: Context) -> Response:
        return await predict(service, body, context)

    @routes.post(
        "/similarity", summary="Cosine similarity to a sentence", response_model=list[float], responses=TEI.failures()
    )
    async def _(body: SimilarityRequest, context: Context) -> Response:
        return await similarity(service, body, context)

    add_rerank(service, routes)

    @routes.get("/info", summary="The served model", response_model=Info, responses=TEI.failures(errors.Unauthorized))
    async def info() -> Response:
        spec = service.spec
        return json_of(
            {
                "model_id": service.name,
                "model_sha": spec.revision,
                "model_dtype": spec.dtype,
                "model_type": {"embedding": {"pooling": spec.pooling_name}}
                if spec.scores is None
                else {"reranker": {"labels": spec.scores.labels}},
                "max_input_length": spec.max_length,
                "auto_truncate": spec.truncate is not Truncate.OFF,
                "version": importlib.metadata.version("embedding-runtime"),
            }
        )

    add_tokens(service, routes)
    return routes


def request_at_root(content: Mapping[str, Any], kind: Kind) -> type[RequestBody]:
    """Select the request model of / by the kind of model. huggingface_hub also requests similarities there."""
    if isinstance(content.get("inputs"), dict):
        return SimilarityRequest
    return _AT_ROOT[kind]


_AT_ROOT: Mapping[Kind, type[RequestBody]] = {
    Kind.EMBEDDING_MODEL: EmbedRequest,
    Kind.SPARSE_ENCODER: EmbedSparseRequest,
    Kind.CROSS_ENCODER: PredictRequest,
}

RootRequest: TypeAlias = EmbedRequest | EmbedSparseRequest | PredictRequest | SimilarityRequest


async def at_root(service: Service, body: RootRequest, context: RequestContext) -> Response:
    """Handle /."""
    match body:
        case EmbedSparseRequest():
            return await embed_sparse(service, body, context)
        case PredictRequest():
            return await predict(service, body, context)
        case SimilarityRequest():
            return await similarity(service, body, context)
        case EmbedRequest():
            return await embed(service, body, context)


async def embed(service: Service, body: EmbedRequest, context: RequestContext) -> Response:
    """Handle /embed."""
    service.name_for(body.model)
    options = Options.of(
        service.spec,
        dimensions=body.dimensions,
        truncate=body.truncate,
        sides=_sides(body),
        normalize=True if body.normalize is None else body.normalize,
        prompt_name=body.prompt_name,
    )
    rows, _ = await service.vectors(context, body.inputs, options, field="inputs")
    return json_of(await encoded(rows, "float"))


def _sides(parameters: EmbedRequest | SimilarityParameters) -> tuple[str | None]:
    """The end to truncate: as in TEI, the right one if the request enables truncation without a direction."""
    return (parameters.truncation_direction or ("right" if parameters.truncate else None),)


async def predict(service: Service, body: PredictRequest, context: RequestContext) -> Response:
    """Handle /predict."""
    service.name_for(body.model)
    given = body.inputs
    single = isinstance(given, str) or any(isinstance(each, str) for each in given)
    inputs = [_text_or_pair(each) for each in ([given] if single else given)]
    rows, _ = await probabilities(
        service, context, inputs, truncate=body.truncate, raw=bool(body.raw_scores), field="inputs"
    )
    found = [
        [{"score": row[place], "label": label(service, int(place))} for place in np.argsort(-row, kind="stable")]
        for row in rows
    ]
    return json_of(found[0] if single else found)


def _text_or_pair(given: Any) -> str | tuple[str, str]:
    if isinstance(given, str):
        return given
    return given[0] if len(given) == 1 else (given[0], given[1])


async def similarity(service: Service, body: SimilarityRequest, context: RequestContext) -> Response:
    """Handle /similarity."""
    service.name_for(body.model)
    parameters = body.parameters or SimilarityParameters()
    options = Options.of(
        service.spec,
        truncate=parameters.truncate,
        sides=_sides(parameters),
        normalize=True,
        prompt_name=parameters.prompt_name,
    )
    texts = [body.inputs.source_sentence, *body.inputs.sentences]
    rows, _ = await service.vectors(context, texts, options, field="inputs")
    return json_of(rows[1:] @ rows[0])
