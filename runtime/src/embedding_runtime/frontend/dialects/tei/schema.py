"""Text Embeddings Inference's bodies; and vLLM's for the paths that both have, /tokenize and /rerank."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Body,
    Form,
    Many,
    ModelName,
    OnlyFalse,
    RequestBody,
    Text,
    TextOrTexts,
    Texts,
    TokenId,
)
from embedding_runtime.frontend.dialects.rerank.schema import DOCUMENTS, QUERY, Document, RankingBody
from embedding_runtime.frontend.dialects.tei.fields import (
    IGNORED,
    IN_DECODE,
    IN_EMBED,
    IN_PREDICT,
    IN_RERANK,
    IN_SIMILARITY,
    IN_TOKENIZE,
)

__all__ = [
    "DecodeRequest",
    "EmbedRequest",
    "Info",
    "PredictRequest",
    "Prediction",
    "Ranked",
    "SimilarityParameters",
    "SimilarityRequest",
    "TeiRerankRequest",
    "TeiToken",
    "TokenizeRequest",
    "Tokenized",
]

Direction = Literal["left", "right", "Left", "Right"]

_HUB = frozenset({"options"})
"""Of the Hugging Face hub's API: whether to wait for a model."""


def _empty(given: object) -> object:
    """Raises ValueError."""
    if given:
        raise ValueError("it has to be empty")
    return given


_NoParameters = Annotated[
    Annotated[dict[str, None], BeforeValidator(_empty), Field(max_length=0)] | None,
    Field(description="an empty object, as huggingface_hub sends it"),
]


class EmbedRequest(RequestBody):
    """`POST /embed`."""

    dropped = frozenset({"inputs"})
    ignored = IGNORED | _HUB
    refused = IN_EMBED

    model: ModelName | None = None

    inputs: Texts
    truncate: Annotated[bool | None, Field(description="cut texts that are too long, instead of refusing them")] = None
    truncation_direction: Annotated[Direction | None, Field(description="the end to cut; default: right")] = None
    normalize: Annotated[bool | None, Field(description="vectors of length 1; default: true")] = None
    prompt_name: Annotated[Text | None, Field(description="which of the model's prompts stands before the texts")] = (
        None
    )
    dimensions: Annotated[int | None, Field(ge=1, description="cut the vectors to so many dimensions")] = None
    parameters: _NoParameters = None


_Sequence = Annotated[Many[Text], Field(min_length=1, max_length=2)]


class PredictRequest(RequestBody):
    """`POST /predict`: a text, a pair, or a list of lists with one text or a pair each."""

    ignored = IGNORED | _HUB
    refused = IN_PREDICT

    model: ModelName | None = None
    inputs: Annotated[
        Text | _Sequence | Many[_Sequence],
        Form("a string, a pair of strings, or a list of lists of one or two strings, of whole Unicode characters"),
        Field(description="a text, a pair of texts, or a list of lists with one text or a pair", examples=[DOCUMENTS]),
    ]
    truncate: Annotated[bool | None, Field(description="cut what is too long; default: false")] = None
    truncation_direction: Annotated[
        Literal["right", "Right"] | None, Field(description="texts, and the longer of a pair, are cut at their end")
    ] = None
    raw_scores: Annotated[bool | None, Field(description="the logits; default: false, probabilities")] = None
    parameters: _NoParameters = None


class Prediction(Answer):
    """One label; those of a text, or pair, are a list, the likeliest first."""

    score: Annotated[float, Field(examples=[0.98])]
    label: Annotated[str, Field(examples=["LABEL_0"])]


class _Sentences(Body):
    source_sentence: Annotated[Text, Field(examples=[QUERY])]
    sentences: Annotated[Many[Text], Field(min_length=1, examples=[DOCUMENTS])]


class SimilarityParameters(Body):
    """How the sentences become vectors."""

    truncate: Annotated[bool | None, Field(description="cut texts that are too long; default: false")] = None
    truncation_direction: Annotated[Direction | None, Field(description="the end to cut; default: right")] = None
    prompt_name: Annotated[Text | None, Field(description="which of the model's prompts stands before the texts")] = (
        None
    )


class SimilarityRequest(RequestBody):
    """`POST /similarity`: the cosine of one sentence with each of the others."""

    ignored = IGNORED | _HUB
    refused = IN_SIMILARITY

    model: ModelName | None = None
    inputs: _Sentences
    parameters: SimilarityParameters | None = None


class TeiRerankRequest(RankingBody):
    """`POST /rerank`: either TEI's `texts`, or vLLM's `documents` with what goes with them at /v1/rerank."""

    refused = IN_RERANK

    query: Annotated[Text, Field(examples=[QUERY])]
    texts: Annotated[Many[Text] | None, Field(min_length=1, examples=[DOCUMENTS])] = None
    raw_scores: Annotated[
        OnlyFalse | None, Field(description="scores are as the model's own files say; before that there are none")
    ] = None
    return_text: Annotated[bool | None, Field(description="default: false")] = None
    truncate: Annotated[bool | None, Field(description="cut pairs that are too long; default: false")] = None
    truncation_direction: Annotated[
        Literal["right", "Right"] | None, Field(description="the longer of the two is cut, at its end")
    ] = None
    model: ModelName | None = None
    documents: Annotated[Many[Document] | None, Field(min_length=1)] = None
    top_n: Annotated[int | None, Field(ge=0)] = None
    max_tokens_per_doc: Annotated[int | None, Field(ge=0)] = None
    return_documents: bool | None = None


class Ranked(Answer):
    """One of TEI's list, the best first."""

    index: int
    score: float
    text: str | None = None


class _Pooling(Answer):
    pooling: Annotated[str, Field(examples=["mean"])]


class _ModelType(Answer):
    """One of the two."""

    embedding: _Pooling | None = None
    reranker: Annotated[dict[str, int] | None, Field(examples=[{"labels": 1}])] = None


class Info(Answer):
    """`GET /info`."""

    model_id: str
    model_sha: str | None
    model_dtype: Annotated[str, Field(examples=["float32"])]
    model_type: _ModelType
    max_input_length: Annotated[int, Field(examples=[256])]
    auto_truncate: bool
    version: str


class TokenizeRequest(RequestBody):
    """`POST /tokenize`: either TEI's `inputs` or vLLM's `prompt`."""

    ignored = IGNORED
    refused = IN_TOKENIZE

    model: ModelName | None = None
    inputs: Annotated[TextOrTexts | None, Field(examples=["What is deep learning?"])] = None
    prompt: Text | None = None
    add_special_tokens: Annotated[bool | None, Field(description="default: true")] = None
    return_token_strs: Annotated[bool | None, Field(description="with `prompt`: the tokens' texts, too")] = None


class TeiToken(Answer):
    """One token."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokenized(Answer):
    """vLLM's answer."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DecodeRequest(RequestBody):
    """`POST /decode`: token ids to texts."""

    ignored = IGNORED
    refused = IN_DECODE

    model: ModelName | None = None
    ids: Annotated[
        Many[TokenId] | Many[Many[TokenId]],
        Form("a list of token ids, or a list of lists of token ids"),
        Field(examples=[[101, 7592, 102]]),
    ]
    skip_special_tokens: Annotated[bool | None, Field(description="default: true")] = None
