"""Scores of pairs: rerank as Cohere, Jina and TEI have it, score as vLLM has it."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import Answer, Body, Many, ModelName, RequestBody, Text
from embedding_runtime.frontend.dialects.other_fields import HARMLESS, IN_RERANK, IN_SCORE

__all__ = ["Ranked", "RerankRequest", "Reranked", "RootRerankRequest", "ScoreRequest", "Scored"]

_QUERY = "What is the capital of France?"
_DOCUMENTS = ["Paris is the capital of France.", "Cats sleep a lot."]


class _ScoringBody(RequestBody):
    harmless = HARMLESS
    instead = IN_RERANK

    use_activation: Annotated[
        Literal[True] | None, Field(description="vLLM's: scores are as the model's own files say, activation included")
    ] = None
    activation: Annotated[Literal[True] | None, Field(description="vLLM's older word for it")] = None
    truncation_side: Annotated[
        Literal["right"] | None, Field(description="vLLM's: the longer text of a pair is cut, at its end")
    ] = None
    max_tokens_per_query: Annotated[
        Literal[0] | None, Field(description="vLLM's; pairs are cut at the model's own length")
    ] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="vLLM's: texts are not padded")] = None


class _Document(Body):
    text: Text


class RerankRequest(_ScoringBody):
    """`POST /v1/rerank` and `/v2/rerank`."""

    model: ModelName
    query: Annotated[Text, Field(examples=[_QUERY])]
    documents: Annotated[
        Many[Text | _Document],
        Field(min_length=1, description="strings, or objects with `text`", examples=[_DOCUMENTS]),
    ]
    top_n: Annotated[int | None, Field(ge=1, description="how many of the best to answer; default: all")] = None
    max_tokens_per_doc: Annotated[
        int | None, Field(ge=1, description="Cohere's; pairs are cut at the model's own length, so not less than that")
    ] = None
    return_documents: Annotated[bool | None, Field(description="their texts, too; default: false")] = None
    truncate: Annotated[
        bool | None,
        Field(description="cut pairs that are too long, as the model's CrossEncoder does; default: true, as Cohere"),
    ] = None
    truncate_prompt_tokens: Annotated[Literal[-1] | None, Field(description="vLLM's word for `truncate`")] = None
    rank_fields: Annotated[
        Many[Literal["text"]] | None, Field(description="Cohere's; a document is ranked by its `text`")
    ] = None
    return_embeddings: Annotated[Literal[False] | None, Field(description="Jina's; there are none")] = None


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


class _Usage(Answer):
    prompt_tokens: int
    total_tokens: int


class Reranked(Answer):
    """The best first."""

    id: str
    model: str
    results: list[_Result]
    usage: _Usage
    meta: _Meta


class ScoreRequest(_ScoringBody):
    """`POST /v1/score`: `text_1` and `text_2`, or `queries` and `documents`. One text on the left goes with each."""

    instead = IN_SCORE

    model: ModelName
    text_1: Annotated[Text | Many[Text] | None, Field(examples=[_QUERY])] = None
    text_2: Annotated[Text | Many[Text] | None, Field(examples=[_DOCUMENTS])] = None
    queries: Annotated[Text | Many[Text] | None, Field(description="another word for `text_1`")] = None
    documents: Annotated[Text | Many[Text] | None, Field(description="another word for `text_2`")] = None
    truncate: Annotated[
        bool | None, Field(description="cut pairs that are too long, as CrossEncoder does; default: false")
    ] = None
    truncate_prompt_tokens: Annotated[Literal[-1] | None, Field(description="vLLM's word for `truncate`")] = None


class _Score(Answer):
    object: Literal["score"]
    index: int
    score: Annotated[float, Field(examples=[0.98])]


class Scored(Answer):
    """One score a pair, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Score]
    usage: _Usage


class RootRerankRequest(_ScoringBody):
    """`POST /rerank`: either TEI's `texts`, or vLLM's `documents` with what goes with them at /v1/rerank."""

    query: Annotated[Text, Field(examples=[_QUERY])]
    texts: Annotated[Many[Text] | None, Field(min_length=1, examples=[_DOCUMENTS])] = None
    raw_scores: Annotated[
        Literal[False] | None, Field(description="scores are as the model's own files say; before that there are none")
    ] = None
    return_text: Annotated[bool | None, Field(description="default: false")] = None
    truncate: Annotated[bool | None, Field(description="cut pairs that are too long; default: false")] = None
    truncation_direction: Annotated[
        Literal["right", "Right"] | None, Field(description="the longer of the two is cut, at its end")
    ] = None
    model: ModelName | None = None
    documents: Annotated[Many[Text | _Document] | None, Field(min_length=1)] = None
    top_n: Annotated[int | None, Field(ge=1)] = None
    max_tokens_per_doc: Annotated[int | None, Field(ge=1)] = None
    return_documents: bool | None = None


class Ranked(Answer):
    """One of TEI's list, the best first."""

    index: int
    score: float
    text: str | None = None
