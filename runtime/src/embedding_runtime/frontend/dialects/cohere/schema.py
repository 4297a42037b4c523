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
from embedding_runtime.frontend.dialects.other_fields import HARMLESS, IN_COHERE_V1, IN_COHERE_V2

__all__ = ["EmbedRequest", "EmbedRequestV2", "Embedded", "EmbeddingType"]

EmbeddingType = Literal["float", "base64", "binary", "ubinary"]
"""binary, ubinary: one bit a dimension, set where the number is above zero; eight a byte, signed or not."""


class _EmbedRequest(RequestBody):
    harmless = HARMLESS
    instead = IN_COHERE_V1
    model: ModelName
    input_type: Annotated[
        InputType | None, Field(description="what the texts are: the model's own prompt for that, where it has one")
    ] = None
    embedding_types: Annotated[Many[EmbeddingType] | None, Field(min_length=1)] = None
    truncate: Annotated[Truncate | None, Field(description="which end of too long a text is cut; default: END")] = None


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

    instead = IN_COHERE_V2

    texts: Annotated[Many[Text] | None, Field(min_length=1, examples=[[EXAMPLE]])] = None
    inputs: Annotated[Many[_Input] | None, Field(min_length=1)] = None
    output_dimension: Annotated[int | None, Field(ge=1, description="cut the vectors to so many dimensions")] = None


class _ByType(Answer):
    float: list[Vector] | None = None
    base64: list[str] | None = None
    binary: list[list[int]] | None = None
    ubinary: list[list[int]] | None = None


class _Version(Answer):
    version: str


class _Billed(Answer):
    input_tokens: int


class _Meta(Answer):
    api_version: _Version
    billed_units: _Billed


class Embedded(Answer):
    """v1 has a bare list where no types were asked for."""

    id: str
    embeddings: _ByType | list[Vector]
    texts: list[str]
    meta: _Meta
    response_type: Literal["embeddings_floats", "embeddings_by_type"]
