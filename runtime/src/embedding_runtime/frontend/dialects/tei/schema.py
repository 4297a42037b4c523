"""Schemas of Text Embeddings Inference, and of vLLM where both have the path (/tokenize and /rerank)."""

from typing import Annotated, Literal

from pydantic import BeforeValidator, Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Form,
    Many,
    ModelName,
    Part,
    RequestBody,
    Text,
    TextOrTexts,
    Texts,
    TokenId,
)
from embedding_runtime.frontend.dialects.rerank.schema import DOCUMENTS, QUERY, Document, RankingBody
from embedding_runtime.frontend.dialects.tei.fields import (
    HUB,
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
    "Direction",
    "EmbedRequest",
    "Info",
    "ModelName",
    "NoParameters",
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


def _empty(given: object) -> object:
    """Raises ValueError."""
    if given:
        raise ValueError("must be empty")
    return given


NoParameters = Annotated[
    Annotated[dict[str, None], BeforeValidator(_empty), Field(max_length=0)] | None,
    Field(description="must be empty; huggingface_hub sends an empty object"),
]


class EmbedRequest(RequestBody):
    """`POST /embed`."""

    dropped = frozenset({"inputs"})
    ignored = IGNORED | HUB
    refused = IN_EMBED

    model: ModelName | None = None

    inputs: Texts
    truncate: Annotated[bool | None, Field(description="truncate texts that are too long; default: --truncate")] = None
    truncation_direction: Annotated[
        Direction | None, Field(description="end at which texts are truncated; default with truncate: right")
    ] = None
    normalize: Annotated[bool | None, Field(description="scale vectors to length 1; default: true")] = None
    prompt_name: Annotated[
        Text | None,
        Field(description="name of the prompt that is put before the texts: one of `prompts` in /v1/models"),
    ] = None
    dimensions: Annotated[int | None, Field(ge=1, description="truncate the vectors to this many dimensions")] = None
    parameters: NoParameters = None


_Sequence = Annotated[Many[Text], Field(min_length=1, max_length=2)]


class PredictRequest(RequestBody):
    """`POST /predict`: a text, a pair of texts, or a list of lists with one or two texts."""

    ignored = IGNORED | HUB
    refused = IN_PREDICT

    model: ModelName | None = None
    inputs: Annotated[
        Text | _Sequence | Many[_Sequence],
        Form("a string, a pair of strings, or a list of lists of one or two strings, in valid Unicode"),
        Field(description="a text, a pair of texts, or a list of lists with one or two texts", examples=[DOCUMENTS]),
    ]
    truncate: Annotated[bool | None, Field(description="truncate inputs that are too long; default: --truncate")] = None
    truncation_direction: Annotated[
        Literal["right", "Right"] | None,
        Field(description="the text, or the longer text of a pair, is truncated at its end"),
    ] = None
    raw_scores: Annotated[
        bool | None,
        Field(
            description="true: return logits; false: return probabilities: softmax, or the sigmoid of a single label "
            "and of each label of a model with problem_type multi_label_classification; default: false"
        ),
    ] = None
    parameters: NoParameters = None


class Prediction(Answer):
    """A label with its score. Those of one input are a list, highest score first."""

    score: Annotated[float, Field(examples=[0.98])]
    label: Annotated[str, Field(examples=["LABEL_0"])]


class _Sentences(Part):
    source_sentence: Annotated[Text, Field(examples=[QUERY])]
    sentences: Annotated[Many[Text], Field(min_length=1, examples=[DOCUMENTS])]


class SimilarityParameters(Part):
    """Options of embedding the sentences."""

    truncate: Annotated[bool | None, Field(description="truncate texts that are too long; default: --truncate")] = None
    truncation_direction: Annotated[
        Direction | None, Field(description="end at which texts are truncated; default with truncate: right")
    ] = None
    prompt_name: Annotated[
        Text | None,
        Field(description="name of the prompt that is put before the texts: one of `prompts` in /v1/models"),
    ] = None


class SimilarityRequest(RequestBody):
    """`POST /similarity`: cosine similarity of one sentence to each of the others."""

    ignored = IGNORED | HUB
    refused = IN_SIMILARITY

    model: ModelName | None = None
    inputs: Annotated[_Sentences, Field(description="source_sentence, and the sentences to compare it with")]
    parameters: Annotated[
        SimilarityParameters | None, Field(description="truncate, truncation_direction, prompt_name")
    ] = None


class TeiRerankRequest(RankingBody):
    """`POST /rerank`: either TEI's `texts`, or `documents` and the other fields of /v1/rerank."""

    refused = IN_RERANK

    query: Annotated[Text, Field(description="text that the texts are compared with", examples=[QUERY])]
    texts: Annotated[
        Many[Text] | None,
        Field(min_length=1, description="texts to rank; exclusive with `documents`", examples=[DOCUMENTS]),
    ] = None
    raw_scores: Annotated[
        bool | None, Field(description="return logits instead of scores; requires `texts`; default: false")
    ] = None
    return_text: Annotated[bool | None, Field(description="include the texts in the response; default: false")] = None
    truncate: Annotated[bool | None, Field(description="truncate pairs that are too long; default: --truncate")] = None
    truncation_direction: Annotated[
        Literal["right", "Right"] | None, Field(description="the longer text of a pair is truncated at its end")
    ] = None
    model: ModelName | None = None
    documents: Annotated[
        Many[Document] | None, Field(min_length=1, description="as in /v1/rerank; exclusive with `texts`")
    ] = None
    top_n: Annotated[int | None, Field(ge=0, description="as in /v1/rerank; requires `documents`")] = None
    max_tokens_per_doc: Annotated[int | None, Field(ge=0, description="as in /v1/rerank; requires `documents`")] = None
    return_documents: Annotated[bool | None, Field(description="as in /v1/rerank; requires `documents`")] = None


class Ranked(Answer):
    """A ranked text. TEI's response is a list of them, best first."""

    index: int
    score: float
    text: str | None = None


class _Pooling(Answer):
    pooling: Annotated[str, Field(examples=["mean"])]


class _ModelType(Answer):
    """Exactly one of the two is present."""

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
    inputs: Annotated[
        TextOrTexts | None,
        Field(description="one text or several; exclusive with `prompt`", examples=["What is deep learning?"]),
    ] = None
    prompt: Annotated[Text | None, Field(description="one text; exclusive with `inputs`")] = None
    add_special_tokens: Annotated[bool | None, Field(description="add special tokens; default: true")] = None
    return_token_strs: Annotated[
        bool | None, Field(description="return the text of each token; requires `prompt`; default: false")
    ] = None


class TeiToken(Answer):
    """A token, as TEI returns it."""

    id: int
    text: str
    special: bool
    start: int | None
    stop: int | None


class Tokenized(Answer):
    """The tokens, as vLLM returns them."""

    count: int
    max_model_len: int
    tokens: list[int]
    token_strs: list[str] | None


class DecodeRequest(RequestBody):
    """`POST /decode`: texts of token ids."""

    ignored = IGNORED
    refused = IN_DECODE

    model: ModelName | None = None
    ids: Annotated[
        Many[TokenId] | Many[Many[TokenId]],
        Form("a list of token ids, or a list of lists of token ids"),
        Field(description="token ids of one text or several", examples=[[101, 7592, 102]]),
    ]
    skip_special_tokens: Annotated[bool | None, Field(description="omit special tokens; default: true")] = None
