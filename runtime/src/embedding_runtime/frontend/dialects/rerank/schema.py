"""Rankings of documents, as Cohere, Jina, Voyage and vLLM have them."""

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
    """vLLM's fields of all requests that score pairs."""

    ignored = IGNORED
    refused = REFUSED

    use_activation: Annotated[
        OnlyTrue | None, Field(description="vLLM's: scores are as the model's own files say, activation included")
    ] = None
    activation: Annotated[OnlyTrue | None, Field(description="vLLM's older word for it")] = None
    truncation_side: Annotated[
        Literal["right"] | None, Field(description="vLLM's: the longer text of a pair is cut, at its end")
    ] = None
    max_tokens_per_query: Annotated[
        OnlyZero | None, Field(description="vLLM's; pairs are cut at the model's own length")
    ] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="vLLM's: texts are not padded")] = None


class RankingBody(ScoringBody):
    """Fields of others' requests for a ranking, of which only the value that changes nothing is taken."""

    truncate_prompt_tokens: Annotated[OnlyMinusOne | None, Field(description="vLLM's word for `truncate`")] = None
    rank_fields: Annotated[
        Many[Literal["text"]] | None, Field(description="Cohere's; a document is ranked by its `text`")
    ] = None
    return_embeddings: Annotated[OnlyFalse | None, Field(description="Jina's; there are none")] = None


class _Document(Body):
    text: Text


Document = Annotated[Text | _Document, Form("a string, or an object with text, of whole Unicode characters")]


class RerankRequest(RankingBody):
    """`POST /v1/rerank` and `/v2/rerank`."""

    model: ModelName | None = None
    query: Annotated[Text, Field(examples=[QUERY])]
    documents: Annotated[
        Many[Document],
        Field(min_length=1, description="strings, or objects with `text`", examples=[DOCUMENTS]),
    ]
    top_n: Annotated[
        int | None, Field(ge=0, description="how many of the best to answer; default, and 0 (vLLM's): all")
    ] = None
    max_tokens_per_doc: Annotated[
        int | None,
        Field(ge=0, description="Cohere's; pairs are cut at the model's own length: not less than that, or 0 (vLLM's)"),
    ] = None
    return_documents: Annotated[bool | None, Field(description="their texts, too; default: false")] = None
    truncate: Annotated[
        bool | None,
        Field(description="cut pairs that are too long, as the model's CrossEncoder does; default: true, as Cohere"),
    ] = None


class _Text(Answer):
    text: str


class _Result(Answer):
    index: Annotated[int, Field(description="place in `documents`")]
    relevance_score: Annotated[float, Field(examples=[0.98])]
    document: Annotated[_Text | None, Field(description="where `return_documents` asked for it")] = None


class _Version(Answer):
    version: str


class _Billed(Answer):
    search_units: int


class _Meta(Answer):
    api_version: _Version
    billed_units: _Billed
    warnings: Annotated[list[str] | None, Field(description="which documents were cut")] = None


class Usage(Answer):
    """As OpenAI has it."""

    prompt_tokens: int
    total_tokens: int


class Reranked(Answer):
    """The best first."""

    id: str
    model: str
    results: list[_Result]
    usage: Usage
    meta: _Meta
