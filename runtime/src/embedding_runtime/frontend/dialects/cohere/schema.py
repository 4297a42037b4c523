"""Cohere's embed, v1 and v2."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import (
    EXAMPLE,
    Answer,
    Body,
    InputType,
    Many,
    ModelName,
    RequestBody,
    Text,
    Truncate,
    Vector,
)
from embedding_runtime.frontend.dialects.cohere.fields import IGNORED, REFUSED_V1, REFUSED_V2

__all__ = ["EmbedRequest", "EmbedRequestV2", "Embedded", "EmbeddingType"]

EmbeddingType = Literal["float", "base64", "int8", "uint8", "binary", "ubinary"]
"""int8: a number n stands for n / 127, uint8 for (n - 128) / 127, so for the range [-1, 1].

binary, ubinary: one bit a dimension, set where the number is above zero; eight a byte, signed or not.
"""


class _EmbedRequest(RequestBody):
    ignored = IGNORED
    refused = REFUSED_V1
    model: ModelName | None = None
    input_type: Annotated[
        InputType | None, Field(description="what the texts are: the model's own prompt for that, where it has one")
    ] = None
    embedding_types: Annotated[
        Many[EmbeddingType] | None,
        Field(
            min_length=1,
            description="int8: n stands for n / 127; uint8: for (n - 128) / 127; both for vectors of length 1 only. "
            "binary, ubinary: a bit a dimension",
        ),
    ] = None
    truncate: Annotated[
        Truncate | None, Field(description="which end of too long a text is cut; default: --truncate, else END")
    ] = None


class EmbedRequest(_EmbedRequest):
    """`POST /v1/embed`."""

    texts: Annotated[Many[Text], Field(min_length=1, examples=[[EXAMPLE]])]


class _TextContent(Body):
    type: Literal["text"]
    text: Text


class _Input(Body):
    content: Annotated[Many[_TextContent], Field(min_length=1, description="their texts make one input together")]


class EmbedRequestV2(_EmbedRequest):
    """`POST /v2/embed`. Either `texts` or `inputs`."""

    refused = REFUSED_V2

    texts: Annotated[Many[Text] | None, Field(min_length=1, examples=[[EXAMPLE]])] = None
    inputs: Annotated[Many[_Input] | None, Field(min_length=1)] = None
    output_dimension: Annotated[int | None, Field(ge=1, description="cut the vectors to so many dimensions")] = None


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
    warnings: Annotated[list[str] | None, Field(description="which texts were cut")] = None


class Embedded(Answer):
    """v1 has a bare list where no types were asked for."""

    id: str
    embeddings: _ByType | list[Vector]
    texts: list[str]
    meta: _Meta
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
