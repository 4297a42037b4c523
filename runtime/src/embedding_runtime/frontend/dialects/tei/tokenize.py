"""/tokenize and /decode: TEI's requests, and vLLM's for the former."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from fastapi import APIRouter, Response

from embedding_runtime import errors
from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.tei.errors import TEI
from embedding_runtime.frontend.dialects.tei.schema import DecodeRequest, TeiToken, Tokenized, TokenizeRequest
from embedding_runtime.frontend.dialects.tei.tokens import as_tei, as_vllm, join_tei, join_vllm
from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.frontend.pipeline.tokens import decode, tokenize

__all__ = ["add_tokens"]

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


def add_tokens(service: Service, routes: APIRouter) -> None:
    """Add the routes."""

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
