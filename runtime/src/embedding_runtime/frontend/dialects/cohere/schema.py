"""Schemas of Cohere's embed API, v1 and v2."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import (
    EXAMPLE,
    Answer,
    InputType,
    Many,
    ModelName,
    Part,
    RequestBody,
    Text,
    Truncate,
    Vector,
)
from embedding_runtime.frontend.dialects.cohere.fields import IGNORED, REFUSED_V1, REFUSED_V2

__all__ = ["EmbedRequest", "EmbedRequestV2", "Embedded", "EmbeddingType"]

EmbeddingType = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
"""int8 is round(127 * x), uint8 is round(127 * x) + 128, for x in [-1, 1].

binary, ubinary: one bit per dimension, set if the number is above zero; packed eight to a signed or unsigned byte.
"""


class _EmbedRequest(RequestBody):
    ignored = IGNORED
    refused = REFUSED_V1
    model: ModelName | None = None
    input_type: Annotated[
        InputType | None,
        Field(description="kind of the texts; selects the model's prompt for that kind, if it has one"),
    ] = None
    embedding_types: Annotated[
        Many[EmbeddingType] | None,
        Field(
            min_length=1,
            description="types to return; default: float. int8 n means n / 127, uint8 n means (n - 128) / 127; both "
            "require a model with vectors of length 1. binary and ubinary have one bit per dimension",
        ),
    ] = None
    truncate: Annotated[
        Truncate | None,
        Field(
            description="end at which texts that are too long are truncated; NONE rejects them; default: "
            "--truncate, or END if that is off"
        ),
    ] = None


class EmbedRequest(_EmbedRequest):
    """`POST /v1/embed`."""

    texts: Annotated[Many[Text], Field(min_length=1, description="texts to embed", examples=[[EXAMPLE]])]


class _TextContent(Part):
    type: Literal["text"]
    text: Text


class _Input(Part):
    content: Annotated[Many[_TextContent], Field(min_length=1, description="text parts, concatenated to one input")]


class EmbedRequestV2(_EmbedRequest):
    """`POST /v2/embed`. Either `texts` or `inputs`."""

    refused = REFUSED_V2

    texts: Annotated[
        Many[Text] | None,
        Field(min_length=1, description="texts to embed; exclusive with `inputs`", examples=[[EXAMPLE]]),
    ] = None
    inputs: Annotated[
        Many[_Input] | None, Field(min_length=1, description="inputs of text parts; exclusive with `texts`")
    ] = None
    output_dimension: Annotated[int | None, Field(ge=1, description="truncate the vectors to this many dimensions")] = (
        None
    )


class _ByType(Answer):
    float: list[Vector] | None = None
    base64: list[str] | None = None
    int8: list[list[int]] | None = None
    uint8: list[list[int]] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None


class _Version(Answer):
    version: str


class _Billed(Answer):
    input_tokens: int


class _Meta(Answer):
    api_version: _Version
    billed_units: _Billed
    warnings: Annotated[list[str] | None, Field(description="the texts that were truncated")] = None


class Embedded(Answer):
    """The vectors by type; from v1 without `embedding_types`, a list of vectors."""

    id: str
    embeddings: _ByType | list[Vector]
    texts: list[str]
    meta: _Meta
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
