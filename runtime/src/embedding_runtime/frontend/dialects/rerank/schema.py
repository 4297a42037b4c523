"""Schemas of rankings, for clients of Cohere, Jina, Voyage and vLLM."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Body,
    Form,
    Many,
    ModelName,
    OnlyFalse,
    OnlyMinusOne,
    OnlyTrue,
    OnlyZero,
    RequestBody,
    Text,
)
from embedding_runtime.frontend.dialects.rerank.fields import IGNORED, REFUSED

__all__ = ["DOCUMENTS", "QUERY", "Document", "RankingBody", "RerankRequest", "Reranked", "ScoringBody", "Usage"]

QUERY = "What is the capital of France?"
DOCUMENTS = ["Paris is the capital of France.", "Cats sleep a lot."]


class ScoringBody(RequestBody):
    """Fields that all requests for scores have, most of them from vLLM."""

    ignored = IGNORED
    refused = REFUSED

    instruction: Annotated[
        Text | None,
        Field(
            description="what makes a document relevant, for a reranker whose chat template has a place for it (LLM "
            "rerankers); replaces the default prompt in the model's files"
        ),
    ] = None
    use_activation: Annotated[
        OnlyTrue | None, Field(description="from vLLM; the model's files define the activation of scores")
    ] = None
    activation: Annotated[OnlyTrue | None, Field(description="from vLLM: former name of `use_activation`")] = None
    truncation_side: Annotated[
        Literal["right"] | None, Field(description="from vLLM; the longer text of a pair is truncated at its end")
    ] = None
    max_tokens_per_query: Annotated[
        OnlyZero | None, Field(description="from vLLM; pairs are truncated at the model's maximum length only")
    ] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="from vLLM; texts are not padded")] = None


class RankingBody(ScoringBody):
    """Fields of rankings in other servers, with the only supported value."""

    truncate_prompt_tokens: Annotated[OnlyMinusOne | None, Field(description="from vLLM: the same as `truncate`")] = (
        None
    )
    rank_fields: Annotated[
        Many[Literal["text"]] | None, Field(description="from Cohere; documents are ranked by their `text`")
    ] = None
    return_embeddings: Annotated[
        OnlyFalse | None, Field(description="from Jina; a cross-encoder has no embeddings")
    ] = None


class _Document(Body):
    text: Text


Document = Annotated[Text | _Document, Form("a string, or an object with text, in valid Unicode")]


class RerankRequest(RankingBody):
    """`POST /v1/rerank` and `/v2/rerank`."""

    model: ModelName | None = None
    query: Annotated[Text, Field(description="text that the documents are compared with", examples=[QUERY])]
    documents: Annotated[
        Many[Document],
        Field(min_length=1, description="strings, or objects with `text`", examples=[DOCUMENTS]),
    ]
    top_n: Annotated[
        int | None, Field(ge=0, description="number of best results to return; default, and 0 as in vLLM: all")
    ] = None
    max_tokens_per_doc: Annotated[
        int | None,
        Field(
            ge=0,
            description="from Cohere; pairs are truncated at the model's maximum length only, so the value must not be "
            "below it, or 0 as in vLLM",
        ),
    ] = None
    return_documents: Annotated[bool | None, Field(description="include the texts in the response; default: false")] = (
        None
    )
    truncate: Annotated[
        bool | None,
        Field(description="truncate pairs that are too long, as CrossEncoder does; default: true, as in Cohere"),
    ] = None


class _Text(Answer):
    text: str


class _Result(Answer):
    index: Annotated[int, Field(description="index in `documents`")]
    relevance_score: Annotated[float, Field(examples=[0.98])]
    document: Annotated[_Text | None, Field(description="present if the request has `return_documents`")] = None


class _Version(Answer):
    version: str


class _Billed(Answer):
    search_units: int


class _Meta(Answer):
    api_version: _Version
    billed_units: _Billed
    warnings: Annotated[list[str] | None, Field(description="the documents that were truncated")] = None


class Usage(Answer):
    """Token counts, as in OpenAI's API."""

    prompt_tokens: int
    total_tokens: int


class Reranked(Answer):
    """The results, best first."""

    id: str
    model: str
    results: list[_Result]
    usage: Usage
    meta: _Meta
