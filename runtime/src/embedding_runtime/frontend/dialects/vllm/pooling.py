"""vLLM's /pooling: a vector for each text (task embed, the default) or for each token (task token_embed).

Shapes as in vllm/entrypoints/pooling/pooling/protocol.py of vLLM. As in vLLM, vectors of tokens include special
tokens and are scaled to length 1, unless `use_activation` is false. Unlike in vLLM, Dense layers are not applied to
them: they are the hidden states of the transformer, `token_embeddings` in sentence-transformers.
"""

import time
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Response
from pydantic import Field

from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.base import Answer, ModelName, OnlyTrue, RequestBody, Texts, Vector
from embedding_runtime.frontend.dialects.bodies import Context
from embedding_runtime.frontend.dialects.rerank.schema import Usage
from embedding_runtime.frontend.dialects.vllm.errors import VLLM
from embedding_runtime.frontend.dialects.vllm.fields import IGNORED, IN_POOLING
from embedding_runtime.frontend.pipeline.answers import encoded, json_of, token_vectors
from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness, check_bytes
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.frontend.pipeline.service import Service

__all__ = ["Pooled", "PoolingRequest", "add_pooling"]


class PoolingRequest(RequestBody):
    """`POST /pooling`."""

    dropped = frozenset({"input"})
    ignored = IGNORED
    refused = IN_POOLING

    model: ModelName | None = None
    input: Texts
    task: Annotated[
        Literal["embed", "token_embed"] | None,
        Field(description="embed: a vector for each text, as in /v1/embeddings; token_embed: for each token"),
    ] = None
    use_activation: Annotated[
        bool | None,
        Field(
            description="whether vectors are scaled to length 1; default: true for token_embed, and what the model's "
            "files say for embed"
        ),
    ] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None,
        Field(description="default: float. base64: all numbers of a text, in `embed_dtype` and `endianness`"),
    ] = None
    embed_dtype: Annotated[EmbedDtype | None, Field(description="type of the numbers in base64; default: float32")] = (
        None
    )
    endianness: Annotated[
        Endianness | None, Field(description="byte order in base64; default: native, which is little")
    ] = None
    truncate_prompt_tokens: Annotated[
        int | None, Field(ge=-1, description="truncate to this many tokens; -1: to the model's maximum")
    ] = None
    truncation_side: Annotated[
        Literal["left", "right"] | None, Field(description="the end at which texts are truncated")
    ] = None
    add_special_tokens: Annotated[OnlyTrue | None, Field(description="special tokens are always added")] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="texts are not padded")] = None


class _Data(Answer):
    index: int
    object: Literal["pooling"]
    data: Annotated[Vector | list[Vector] | str, Field(description="a vector, a list of vectors of tokens, or base64")]
    truncated: Annotated[
        Literal[True] | None, Field(description="present if the text was too long and was truncated")
    ] = None


class Pooled(Answer):
    """One object for each text, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Data]
    usage: Usage


def add_pooling(service: Service, routes: APIRouter) -> None:
    """Add the route."""

    @routes.post(
        "/pooling",
        summary="Vectors for texts, or for all of their tokens",
        response_model=Pooled,
        responses=VLLM.failures(),
    )
    async def _(body: PoolingRequest, context: Context) -> Response:
        return await _pooled(service, body, context)


async def _pooled(service: Service, body: PoolingRequest, context: RequestContext) -> Response:
    name = service.name_for(body.model)
    of_tokens = body.task == "token_embed"
    options = Options.of(
        service.spec,
        sides=(body.truncation_side,),
        keep_tokens=body.truncate_prompt_tokens,
        normalize=None if of_tokens else body.use_activation,
    )
    form: tuple[str, EmbedDtype, Endianness] = (
        body.encoding_format or "float",
        body.embed_dtype or "float32",
        body.endianness or "little",
    )
    if form[0] == "float":
        check_bytes("float", body.embed_dtype, body.endianness, instead="base64")
    each: Any
    if of_tokens:
        rows, tokens = await service.token_vectors(context, body.input, options, field="input")
        each = await token_vectors(rows, *form, normalize=body.use_activation is not False)
    else:
        vectors, tokens = await service.vectors(context, body.input, options, field="input")
        each = await encoded(vectors, *form)
    data: list[dict[str, Any]] = [
        {"index": index, "object": "pooling", "data": found} for index, found in enumerate(each)
    ]
    for index in context.truncated:
        data[index]["truncated"] = True
    return json_of(
        {
            "id": f"pooling-{context.id}",
            "object": "list",
            "created": int(time.time()),
            "model": name,
            "data": data,
            "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        }
    )
