"""Text Embeddings Inference's paths; /tokenize and /rerank also accept vLLM's requests."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, TypeAlias

import numpy as np
from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.contract import Kind, Truncate
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import RequestBody, SparseValue, Vector
from embedding_runtime.frontend.dialects.bodies import Choice, Context
from embedding_runtime.frontend.dialects.rerank.routes import ranking
from embedding_runtime.frontend.dialects.rerank.schema import Reranked, RerankRequest
from embedding_runtime.frontend.dialects.tei.errors import TEI
from embedding_runtime.frontend.dialects.tei.ragged import EmbedSparseRequest, add_ragged, embed_sparse
from embedding_runtime.frontend.dialects.tei.schema import (
    DecodeRequest,
    EmbedRequest,
    Info,
    Prediction,
    PredictRequest,
    Ranked,
    SimilarityParameters,
    SimilarityRequest,
    TeiRerankRequest,
    TeiToken,
    Tokenized,
    TokenizeRequest,
)
from embedding_runtime.frontend.dialects.tei.tokens import as_tei, as_vllm, join_tei, join_vllm
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.scoring import label, probabilities, score_pairs
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.frontend.pipeline.tokens import decode, tokenize

__all__ = ["RootRequest", "at_root", "embed", "predict", "request_at_root", "rerank", "router", "similarity"]

_TOKENIZES = TEI.failures(
    errors.BadRequest,
    errors.MalformedBody,
    errors.RequestTooLarge,
    errors.Unauthorized,
    errors.UnknownModel,
    errors.BodyTooLate,
    errors.BodyTooLarge,
    errors.Overloaded,
)


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

    @routes.post(
        "/rerank",
        summary="Rank texts: TEI's API (texts) or vLLM's (documents)",
        response_model=list[Ranked] | Reranked,
        responses=TEI.failures(),
    )
    async def _(body: TeiRerankRequest, context: Context) -> Response:
        return await rerank(service, body, context)

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

    _add_tokens(service, routes)
    return routes


def _add_tokens(service: Service, routes: APIRouter) -> None:
    """Add /tokenize and /decode."""

    @routes.post(
        "/tokenize",
        summary="Tokens of texts, without the model's prompt: TEI's API (inputs) or vLLM's (prompt)",
        response_model=list[list[TeiToken]] | Tokenized,
        responses=_TOKENIZES,
    )
    async def _(body: TokenizeRequest, context: Context) -> Response:
        return await _tokens(service, body, context)

    @routes.post("/decode", summary="Texts of tokens", response_model=list[str], responses=_TOKENIZES)
    async def _(body: DecodeRequest, context: Context) -> Response:
        service.name_for(body.model)
        lists: Sequence[Any] = [body.ids] if not body.ids or isinstance(body.ids[0], int) else body.ids
        skip = body.skip_special_tokens is not False
        return json_of(await decode(service, context, lists, skip_special=skip, field="ids"))


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


async def _tokens(service: Service, body: TokenizeRequest, context: RequestContext) -> Response:
    service.name_for(body.model)
    if (body.inputs is None) == (body.prompt is None):
        raise BadRequest(
            "inputs: exactly one of inputs (TEI's API) and prompt (vLLM's API) is required", param="inputs"
        )
    field, given = ("inputs", body.inputs) if body.prompt is None else ("prompt", body.prompt)
    texts = [given] if isinstance(given, str) else given or []
    special = body.add_special_tokens is not False
    if body.prompt is None:
        if body.return_token_strs is not None:
            message = "return_token_strs is valid with prompt only: with inputs, every token has its text"
            raise BadRequest(f"{message}; remove the field", param="return_token_strs")
        return await tokenize(service, context, texts, as_tei, join_tei, special=special, field=field)
    write = partial(as_vllm, strings=bool(body.return_token_strs))
    join = partial(join_vllm, max_length=service.spec.max_length)
    return await tokenize(service, context, texts, write, join, special=special, field=field)
