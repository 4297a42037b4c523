"""Text Embeddings Inference's paths, so that its clients move over; /tokenize in vLLM's words, too."""

import importlib.metadata
from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.dialects.base import Vector
from embedding_runtime.frontend.dialects.bodies import BodyRoute, Context
from embedding_runtime.frontend.dialects.errors import TeiError, failures
from embedding_runtime.frontend.dialects.tei.schema import EmbedRequest, Info, TeiToken, Tokenized, TokenizeRequest
from embedding_runtime.frontend.pipeline.answers import encoded, json_of
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model.tokenizer import Token

__all__ = ["router"]


def router(service: Service) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=BodyRoute, tags=["Text Embeddings Inference"])

    @routes.post("/", summary="As /embed", response_model=list[Vector], responses=failures(TeiError))
    @routes.post("/embed", summary="Vectors for texts", response_model=list[Vector], responses=failures(TeiError))
    async def embed(body: EmbedRequest, context: Context) -> Response:
        if body.model is not None:
            service.check_model(body.model)
        options = Options.of(
            service.spec,
            dimensions=body.dimensions,
            truncate=body.truncate,
            sides=(body.truncation_direction or "right",),
            normalize=True if body.normalize is None else body.normalize,
            prompt_name=body.prompt_name,
        )
        rows, _ = await service.vectors(context, body.inputs, options, field="inputs")
        return json_of(await encoded(rows, "float"))

    @routes.get("/info", summary="The served model", response_model=Info, responses=failures(TeiError, 401))
    async def info() -> Response:
        spec = service.spec
        return json_of(
            {
                "model_id": service.name,
                "model_sha": spec.revision,
                "model_dtype": spec.dtype,
                "model_type": {"embedding": {"pooling": "+".join(spec.pooling)}}
                if spec.scores is None
                else {"reranker": {"labels": spec.scores.labels}},
                "max_input_length": spec.max_length,
                "auto_truncate": False,
                "version": importlib.metadata.version("embedding-runtime"),
            }
        )

    @routes.post(
        "/tokenize",
        summary="Tokens of texts, as TEI (inputs) or vLLM (prompt) have it; without the model's prompt",
        response_model=list[list[TeiToken]] | Tokenized,
        responses=failures(TeiError, 400, 401, 404, 408, 413, 429),
    )
    async def tokenize(body: TokenizeRequest) -> Response:
        if body.model is not None:
            service.check_model(body.model)
        if (body.inputs is None) == (body.prompt is None):
            raise BadRequest("inputs: give either inputs (as TEI has it) or prompt (as vLLM has it)", param="inputs")
        field, given = ("inputs", body.inputs) if body.prompt is None else ("prompt", body.prompt)
        texts = [given] if isinstance(given, str) else given or []
        service.check_number(texts, field)
        return await service.in_turn(sum(map(len, texts)), lambda: _tokenized(service, body, texts, field))

    return routes


def _as_tei(token: Token) -> dict[str, Any]:
    place = {"start": None, "stop": None} if token.special else {"start": token.start, "stop": token.stop}
    return {"id": token.id, "text": token.text, "special": token.special, **place}


def _tokenized(service: Service, body: TokenizeRequest, texts: Sequence[str], field: str) -> Response:
    special = body.add_special_tokens is not False
    slices = service.sliced(
        texts,
        lambda few: service.tokenizer.tokens(few, special=special),
        size=lambda found: sum(map(len, found)),
        field=field,
    )
    found = [tokens for each in slices for tokens in each]
    service.check_tokens(sum(map(len, found)), field, more=len(found) < len(texts))
    if body.prompt is None:
        return json_of([list(map(_as_tei, text)) for text in found])
    (tokens,) = found
    return json_of(
        {
            "count": len(tokens),
            "max_model_len": service.spec.max_length,
            "tokens": [token.id for token in tokens],
            "token_strs": [token.text for token in tokens] if body.return_token_strs else None,
        }
    )
