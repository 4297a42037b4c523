"""SageMaker's /ping and /invocations. The latter accepts requests of other paths, told apart by their fields."""

from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Response

from embedding_runtime.contract import Kind
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import RequestBody
from embedding_runtime.frontend.dialects.bodies import Choice, Context
from embedding_runtime.frontend.dialects.cohere.routes import embed_v2
from embedding_runtime.frontend.dialects.cohere.schema import EmbedRequestV2
from embedding_runtime.frontend.dialects.dialect import Dialect
from embedding_runtime.frontend.dialects.openai.errors import OpenAIError, format_error
from embedding_runtime.frontend.dialects.openai.routes import embeddings
from embedding_runtime.frontend.dialects.openai.schema import EmbeddingsRequest
from embedding_runtime.frontend.dialects.tei import routes as tei
from embedding_runtime.frontend.dialects.tei.ragged import EmbedSparseRequest
from embedding_runtime.frontend.dialects.tei.rerank import rerank
from embedding_runtime.frontend.dialects.tei.schema import (
    EmbedRequest,
    PredictRequest,
    SimilarityRequest,
    TeiRerankRequest,
)
from embedding_runtime.frontend.dialects.vllm import routes as vllm
from embedding_runtime.frontend.dialects.vllm.schema import ClassifyRequest, ScoreRequest
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["SAGEMAKER", "router"]

SAGEMAKER = Dialect("SageMaker", OpenAIError, format_error)

_Any: TypeAlias = (
    EmbeddingsRequest
    | EmbedRequestV2
    | EmbedRequest
    | EmbedSparseRequest
    | SimilarityRequest
    | TeiRerankRequest
    | ScoreRequest
    | PredictRequest
    | ClassifyRequest
)


def router(service: Service) -> APIRouter:
    """The routes. /ping is in `health.PROBES`."""
    routes = SAGEMAKER.router()

    def choose(content: Mapping[str, Any]) -> type[RequestBody]:
        return _model_for(content, service.spec.kind)

    @routes.post(
        "/invocations",
        summary="As /v1/embeddings, /v2/embed, /embed, /embed_sparse, /similarity, /rerank, /score, /predict or "
        "/classify",
        responses=SAGEMAKER.failures(),
    )
    async def _(body: Annotated[_Any, Choice(choose)], context: Context) -> Response:
        return await _answer(service, body, context)

    return routes


def _model_for(content: Mapping[str, Any], kind: Kind) -> type[RequestBody]:
    """Select the request model by a field that only it has, or by the kind of the served model."""
    if "query" in content:
        return TeiRerankRequest
    if content.keys() & {"text_1", "queries", "data_1"}:
        return ScoreRequest
    if "texts" in content:
        return EmbedRequestV2
    if "inputs" in content:
        return tei.request_at_root(content, kind)
    return ClassifyRequest if kind is Kind.CROSS_ENCODER else EmbeddingsRequest


async def _answer(service: Service, body: _Any, context: RequestContext) -> Response:
    match body:
        case EmbeddingsRequest():
            return await embeddings(service, body, context)
        case EmbedRequestV2():
            return await embed_v2(service, body, context)
        case EmbedRequest() | EmbedSparseRequest() | SimilarityRequest() | PredictRequest():
            return await tei.at_root(service, body, context)
        case TeiRerankRequest():
            return await rerank(service, body, context)
        case ScoreRequest():
            return await vllm.score(service, body, context)
        case ClassifyRequest():
            return await vllm.classify(service, body, context)
