"""Schemas of OpenAI's embeddings and models, with the fields that Jina, TEI and vLLM add."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Form,
    InputType,
    Many,
    ModelName,
    OnlyFalse,
    OnlyTrue,
    RequestBody,
    SparseValue,
    Text,
    Texts,
    Truncate,
    Vector,
)
from embedding_runtime.frontend.dialects.openai.fields import IGNORED, REFUSED
from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness

__all__ = ["Embeddings", "EmbeddingsRequest", "Model", "Models"]


def _each_once(names: list[str]) -> list[str]:
    return list(dict.fromkeys(names))


class EmbeddingsRequest(RequestBody):
    """`POST /v1/embeddings`."""

    dropped = frozenset({"input"})
    ignored = IGNORED
    refused = REFUSED

    model: ModelName | None = None
    input: Texts
    output: Annotated[
        Annotated[Many[Literal["dense", "sparse", "colbert"]], AfterValidator(_each_once)] | None,
        Field(
            min_length=1,
            description="what to return for each text: any of `outputs` in /v1/models, computed together. dense: "
            "`embedding`; sparse: `sparse_embedding`; colbert: `colbert_embedding`, a vector for each token but the "
            "first. BGE-M3 has all three. Default: dense",
        ),
    ] = None
    encoding_format: Annotated[
        Literal["float", "base64", "bytes", "bytes_only"] | None,
        Field(
            description="default: float. base64: numbers in the type `embed_dtype` and the byte order `endianness`; "
            "bytes (from vLLM): the same as raw bytes, vector after vector, with JSON in the header `metadata`; "
            "bytes_only: without that header"
        ),
    ] = None
    dimensions: Annotated[
        int | None,
        Field(
            ge=1,
            description="size of the vectors: the model's own or one of its `sizes` (see /v1/models). Shorter vectors "
            "are truncated, and normalized again if the model's vectors are",
        ),
    ] = None
    add_special_tokens: Annotated[
        OnlyTrue | None, Field(description="from vLLM; without special tokens the vector would differ")
    ] = None
    user: Annotated[Text | None, Field(description="accepted, but not used")] = None
    truncate: Annotated[
        Annotated[bool | Truncate, Form("true, false, NONE, START or END")] | None,
        Field(
            description="truncate texts that are too long, at this end (true: the end that the model's tokenizer sets)"
            "; false and NONE reject them; default: --truncate"
        ),
    ] = None
    truncation_direction: Annotated[
        Literal["left", "right", "Left", "Right"] | None,
        Field(description="from TEI: the end at which texts are truncated"),
    ] = None
    truncation_side: Annotated[
        Literal["left", "right"] | None, Field(description="from vLLM: the end at which texts are truncated")
    ] = None
    truncate_prompt_tokens: Annotated[
        int | None, Field(ge=-1, description="from vLLM: truncate to this many tokens; -1: to the model's maximum")
    ] = None
    normalize: Annotated[
        bool | None, Field(description="whether vectors are scaled to length 1; default: what the model's files say")
    ] = None
    prompt_name: Annotated[
        Text | None,
        Field(description="name of the prompt that is put before the texts: one of `prompts` in /v1/models"),
    ] = None
    input_type: Annotated[
        InputType | None,
        Field(description="kind of the texts; selects the model's prompt for that kind, if it has one"),
    ] = None
    embed_dtype: Annotated[
        EmbedDtype | None, Field(description="from vLLM: type of the numbers in base64 and bytes; default: float32")
    ] = None
    endianness: Annotated[
        Endianness | None,
        Field(description="from vLLM: byte order in base64 and bytes; default: native, which is little"),
    ] = None
    embedding_type: Annotated[
        Literal["float", "base64", "binary", "ubinary"] | None,
        Field(
            description="from Jina: the same as `encoding_format`. binary and ubinary have one bit per dimension, "
            "eight to a number"
        ),
    ] = None
    late_chunking: Annotated[OnlyFalse | None, Field(description="from Jina; each text is embedded separately")] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="from vLLM; texts are not padded")] = None


class _Embedding(Answer):
    """The vectors of a text: those that `output` requests."""

    object: Literal["embedding"]
    embedding: Annotated[Vector | str | None, Field(description="numbers, or base64")] = None
    sparse_embedding: list[SparseValue] | None = None
    colbert_embedding: Annotated[
        list[Vector] | str | None, Field(description="vectors of tokens, or base64 of all of their numbers")
    ] = None
    index: int
    truncated: Annotated[
        Literal[True] | None, Field(description="present if the text was too long and was truncated")
    ] = None


class _Usage(Answer):
    prompt_tokens: Annotated[int, Field(examples=[13])]
    total_tokens: Annotated[int, Field(examples=[13])]
    completion_tokens: int
    prompt_tokens_details: None


class Embeddings(Answer):
    """One vector for each text, in their order."""

    id: Annotated[str, Field(examples=["embd-0f1f9a7c6d0b4b779a0a1f9f5a7b2c11"])]
    object: Literal["list"]
    created: int
    data: list[_Embedding]
    model: str
    usage: _Usage


class _Precision(Answer):
    dtype: Annotated[str, Field(examples=["float32"])]
    quantization: Annotated[str, Field(examples=["none"], description="quantization of linear layers: none or int8")]
    cosine: Annotated[
        float | None,
        Field(
            examples=[None], description="lowest cosine similarity to float32, measured at startup; null: not measured"
        ),
    ]


class Model(Answer):
    """The served model and the properties of its vectors; `name` and `ready` are for KServe's V1 protocol."""

    id: Annotated[str, Field(examples=["sentence-transformer"])]
    name: Annotated[str, Field(examples=["sentence-transformer"])]
    ready: bool
    object: Literal["model"]
    created: int
    owned_by: str
    backend: Annotated[
        str, Field(examples=["huggingface"], description="library that computes; auto until the model is loaded")
    ]
    backend_reason: Annotated[
        str | None,
        Field(
            examples=["vLLM has no class of its own for DistilBertModel"],
            description="why this backend; null until the model is loaded",
        ),
    ]
    revision: Annotated[str | None, Field(description="commit that the initializer downloaded; null: unknown")]
    space: Annotated[
        str,
        Field(
            description="hash of weights, tokenizer, pooling, prompts, dimensions and precision. Vectors of servers "
            "with an equal `space` are comparable"
        ),
    ]
    dimensions: Annotated[int, Field(examples=[384])]
    sizes: Annotated[
        list[int] | str, Field(description="smaller values that `dimensions` of a request may have; a range is 1-1023")
    ]
    sizes_source: Annotated[
        str,
        Field(
            examples=["config.json"],
            description="where `sizes` come from: --matryoshka, config.json, or the URL of the model card; or empty",
        ),
    ]
    max_length: Annotated[int, Field(examples=[256], description="longest input in tokens, special tokens included")]
    truncate: Annotated[
        str,
        Field(
            examples=["off"],
            description="--truncate: the end at which longer inputs are truncated if a request does not say; off: none",
        ),
    ]
    kind: Annotated[
        str, Field(examples=["embedding model"], description="embedding model, sparse encoder or cross-encoder")
    ]
    outputs: Annotated[list[str], Field(examples=[["dense"]], description="values that `output` of a request may have")]
    pooling: Annotated[str, Field(examples=["mean"])]
    normalized: bool
    similarity: Annotated[str, Field(examples=["cosine"])]
    prompt: Annotated[str, Field(description="put before every text unless the request selects another prompt")]
    prompts: Annotated[dict[str, str], Field(examples=[{"query": "query: ", "document": "passage: "}])]
    dtype: Annotated[str, Field(examples=["float32"])]
    precision: _Precision
    assumed: Annotated[list[str], Field(description="defaults that were used because the model's files do not say")]


class Models(Answer):
    """The served model, once for each of its names."""

    object: Literal["list"]
    data: list[Model]
    models: Annotated[list[str], Field(description="the names, for KServe's V1 protocol")]
