"""Schemas of vLLM's score, classify and detokenize."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import (
    Answer,
    Many,
    ModelName,
    OnlyMinusOne,
    OnlyTrue,
    OnlyZero,
    RequestBody,
    TextOrTexts,
    TokenId,
)
from embedding_runtime.frontend.dialects.rerank.schema import DOCUMENTS, QUERY, ScoringBody, Usage
from embedding_runtime.frontend.dialects.vllm.fields import IGNORED, IN_CLASSIFY, IN_DETOKENIZE, IN_SCORE

__all__ = [
    "Classified",
    "ClassifyRequest",
    "DetokenizeRequest",
    "Detokenized",
    "ScoreRequest",
    "Scored",
    "Version",
]


class ScoreRequest(ScoringBody):
    """`POST /score`: two fields with texts, which are paired in order.

    A single text in the first field is paired with each text in the second.
    """

    refused = IN_SCORE

    model: ModelName | None = None
    text_1: Annotated[TextOrTexts | None, Field(description="requires `text_2`", examples=[QUERY])] = None
    text_2: Annotated[TextOrTexts | None, Field(description="requires `text_1`", examples=[DOCUMENTS])] = None
    queries: Annotated[TextOrTexts | None, Field(description="requires `documents` or `items`")] = None
    documents: Annotated[TextOrTexts | None, Field(description="requires `queries`")] = None
    items: Annotated[TextOrTexts | None, Field(description="requires `queries`")] = None
    data_1: Annotated[TextOrTexts | None, Field(description="requires `data_2`")] = None
    data_2: Annotated[TextOrTexts | None, Field(description="requires `data_1`")] = None
    truncate: Annotated[
        bool | None, Field(description="truncate pairs that are too long, as CrossEncoder does; default: --truncate")
    ] = None
    truncate_prompt_tokens: Annotated[OnlyMinusOne | None, Field(description="from vLLM: the same as `truncate`")] = (
        None
    )
    max_tokens_per_doc: Annotated[
        OnlyZero | None, Field(description="pairs are truncated at the model's maximum length only")
    ] = None


class _Score(Answer):
    object: Literal["score"]
    index: int
    score: Annotated[float, Field(examples=[0.98])]
    truncated: Annotated[
        Literal[True] | None, Field(description="present if the pair was too long and was truncated")
    ] = None


class Scored(Answer):
    """One score for each pair, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Score]
    usage: Usage


class ClassifyRequest(RequestBody):
    """`POST /classify`: single texts, for a model with labels."""

    ignored = IGNORED
    refused = IN_CLASSIFY

    model: ModelName | None = None
    input: Annotated[TextOrTexts, Field(description="one text or several", examples=[DOCUMENTS])]
    use_activation: Annotated[
        bool | None,
        Field(
            description="true: return probabilities: softmax, or the sigmoid of a single label and of each label of a "
            "model with problem_type multi_label_classification; false: return logits; default: true"
        ),
    ] = None
    truncate_prompt_tokens: Annotated[
        OnlyMinusOne | None, Field(description="-1: truncate texts to the model's maximum length; default: --truncate")
    ] = None
    add_special_tokens: Annotated[OnlyTrue | None, Field(description="special tokens are always added")] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="texts are not padded")] = None
    truncation_side: Annotated[Literal["right"] | None, Field(description="texts are truncated at their end")] = None


class _Class(Answer):
    index: int
    label: Annotated[str, Field(examples=["LABEL_0"])]
    probs: Annotated[list[float], Field(examples=[[0.9, 0.1]])]
    num_classes: Annotated[int, Field(examples=[2])]
    truncated: Annotated[
        Literal[True] | None, Field(description="present if the text was too long and was truncated")
    ] = None


class Classified(Answer):
    """One object for each text, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Class]
    usage: Usage


class DetokenizeRequest(RequestBody):
    """`POST /detokenize`."""

    ignored = IGNORED
    refused = IN_DETOKENIZE

    model: ModelName | None = None
    tokens: Annotated[Many[TokenId], Field(description="token ids", examples=[[101, 7592, 102]])]


class Detokenized(Answer):
    """The text of the tokens, special tokens included."""

    prompt: Annotated[str, Field(examples=["[CLS] hello [SEP]"])]


class Version(Answer):
    """The version of the runtime."""

    version: str
