"""OpenAI's embeddings and models, and the fields that users of Cohere, TEI and vLLM know."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Form,
    InputType,
    ModelName,
    OnlyFalse,
    OnlyTrue,
    RequestBody,
    Text,
    Texts,
    Truncate,
    Vector,
)
from embedding_runtime.frontend.dialects.openai.fields import IGNORED, REFUSED
from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness

__all__ = ["Embeddings", "EmbeddingsRequest", "Model", "Models"]


class EmbeddingsRequest(RequestBody):
    """`POST /v1/embeddings`."""

    dropped = frozenset({"input"})
    ignored = IGNORED
    refused = REFUSED

    model: ModelName | None = None
    input: Texts
    encoding_format: Annotated[
        Literal["float", "base64", "bytes", "bytes_only"] | None,
        Field(
            description="base64: of `embed_dtype`, in `endianness`; bytes (vLLM's): the same, one vector after the "
            "other, with JSON in the header `metadata`; bytes_only: without that header"
        ),
    ] = None
    dimensions: Annotated[
        int | None,
        Field(ge=1, description="the model's own number, or one of its `sizes`: cut, and of length 1 where they were"),
    ] = None
    add_special_tokens: Annotated[
        OnlyTrue | None, Field(description="vLLM's: a text without them would have another vector")
    ] = None
    user: Annotated[Text | None, Field(description="accepted and not used")] = None
    truncate: Annotated[
        Annotated[bool | Truncate, Form("true, false, NONE, START or END")] | None,
        Field(description="for texts that are too long: cut them there (true: as the model's tokenizer does)"),
    ] = None
    truncation_direction: Annotated[
        Literal["left", "right", "Left", "Right"] | None, Field(description="TEI's word for the end to cut")
    ] = None
    truncation_side: Annotated[Literal["left", "right"] | None, Field(description="vLLM's word for the end to cut")] = (
        None
    )
    truncate_prompt_tokens: Annotated[
        int | None, Field(ge=-1, description="vLLM's: cut to this many tokens; -1: to as many as the model takes")
    ] = None
    normalize: Annotated[
        bool | None, Field(description="true: vectors of length 1. Left out: as the model's files say")
    ] = None
    prompt_name: Annotated[
        Text | None, Field(description="which of the model's `prompts` stands before the texts, by its name there")
    ] = None
    input_type: Annotated[
        InputType | None, Field(description="what the texts are: the model's own prompt for that, where it has one")
    ] = None
    embed_dtype: Annotated[
        EmbedDtype | None, Field(description="vLLM's: the type of base64's and bytes' numbers; default: float32")
    ] = None
    endianness: Annotated[
        Endianness | None, Field(description="vLLM's: the byte order of base64 and bytes; default, and native: little")
    ] = None
    embedding_type: Annotated[
        Literal["float", "base64", "binary", "ubinary"] | None,
        Field(description="Jina's word for `encoding_format`; binary and ubinary: a bit a dimension, eight a number"),
    ] = None
    late_chunking: Annotated[OnlyFalse | None, Field(description="Jina's: a text has a vector of its own")] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="vLLM's: texts are not padded")] = None


class _Embedding(Answer):
    object: Literal["embedding"]
    embedding: Annotated[Vector | str, Field(description="numbers, or base64")]
    index: int
    truncated: Annotated[Literal[True] | None, Field(description="where the text was too long and was cut")] = None


class _Usage(Answer):
    prompt_tokens: Annotated[int, Field(examples=[13])]
    total_tokens: Annotated[int, Field(examples=[13])]
    completion_tokens: int
    prompt_tokens_details: None


class Embeddings(Answer):
    """One vector a text, in their order."""

    id: Annotated[str, Field(examples=["embd-0f1f9a7c-6d0b-4b77-9a0a-1f9f5a7b2c11"])]
    object: Literal["list"]
    created: int
    data: list[_Embedding]
    model: str
    usage: _Usage


class _Precision(Answer):
    dtype: Annotated[str, Field(examples=["float32"])]
    quantization: Annotated[str, Field(examples=["none"], description="of the linear layers' weights: none or int8")]
    cosine: Annotated[
        float | None,
        Field(examples=[None], description="lowest cosine to float32, measured at start; null: not measured"),
    ]


class Model(Answer):
    """The served model: what a vector of it is. `name` and `ready` are of KServe's V1 protocol, on the same path."""

    id: Annotated[str, Field(examples=["sentence-transformer"])]
    name: Annotated[str, Field(examples=["sentence-transformer"])]
    ready: bool
    object: Literal["model"]
    created: int
    owned_by: str
    backend: Annotated[
        str, Field(examples=["huggingface"], description="that computes; auto: not known before the model is loaded")
    ]
    backend_reason: Annotated[
        str | None,
        Field(
            examples=["vLLM has no class of its own for DistilBertModel"],
            description="why it is this one; null: not known before the model is loaded",
        ),
    ]
    revision: Annotated[str | None, Field(description="commit that the initializer fetched; null: not known")]
    space: Annotated[
        str,
        Field(
            description="equal for equal weights, tokenizer, pooling, prompts, dimensions, precision: vectors compare"
        ),
    ]
    dimensions: Annotated[int, Field(examples=[384])]
    sizes: Annotated[
        list[int] | str, Field(description="what `dimensions` of a request may be, too; a range is written 1-1023")
    ]
    max_length: Annotated[int, Field(examples=[256], description="longest input in tokens, special ones included")]
    kind: Annotated[str, Field(examples=["embedding model"], description="or a cross-encoder, which scores pairs")]
    pooling: Annotated[str, Field(examples=["mean"])]
    normalized: bool
    similarity: Annotated[str, Field(examples=["cosine"])]
    prompt: Annotated[str, Field(description="stands before every text where a request asks for no other")]
    prompts: Annotated[dict[str, str], Field(examples=[{"query": "query: ", "document": "passage: "}])]
    dtype: Annotated[str, Field(examples=["float32"])]
    precision: _Precision
    assumed: Annotated[list[str], Field(description="what the model's files do not say")]


class Models(Answer):
    """One for each name of the served model."""

    object: Literal["list"]
    data: list[Model]
    models: Annotated[list[str], Field(description="the names, as KServe's V1 protocol has them")]
