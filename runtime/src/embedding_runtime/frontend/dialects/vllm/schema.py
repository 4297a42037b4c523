"""vLLM's requests for scores, labels and texts of tokens."""

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
    """`POST /score`: two fields with texts. One text in the first goes with each in the second."""

    refused = IN_SCORE

    model: ModelName | None = None
    text_1: Annotated[TextOrTexts | None, Field(examples=[QUERY])] = None
    text_2: Annotated[TextOrTexts | None, Field(examples=[DOCUMENTS])] = None
    queries: Annotated[TextOrTexts | None, Field(description="goes with `documents`, or `items`")] = None
    documents: Annotated[TextOrTexts | None, Field(description="goes with `queries`")] = None
    items: Annotated[TextOrTexts | None, Field(description="goes with `queries`")] = None
    data_1: Annotated[TextOrTexts | None, Field(description="goes with `data_2`")] = None
    data_2: Annotated[TextOrTexts | None, Field(description="goes with `data_1`")] = None
    truncate: Annotated[
        bool | None,
        Field(description="cut pairs that are too long, as CrossEncoder does, or refuse them; default: --truncate"),
    ] = None
    truncate_prompt_tokens: Annotated[OnlyMinusOne | None, Field(description="vLLM's word for `truncate`")] = None
    max_tokens_per_doc: Annotated[
        OnlyZero | None, Field(description="pairs are cut at the model's own length; 0: no other cut")
    ] = None


class _Score(Answer):
    object: Literal["score"]
    index: int
    score: Annotated[float, Field(examples=[0.98])]
    truncated: Annotated[Literal[True] | None, Field(description="where the pair was too long and was cut")] = None


class Scored(Answer):
    """One score a pair, in their order."""

    id: str
    object: Literal["list"]
    created: int
    model: str
    data: list[_Score]
    usage: Usage


class ClassifyRequest(RequestBody):
    """`POST /classify`: texts, each by itself, for a model with labels."""

    ignored = IGNORED
    refused = IN_CLASSIFY

    model: ModelName | None = None
    input: Annotated[TextOrTexts, Field(examples=[DOCUMENTS])]
    use_activation: Annotated[
        bool | None,
        Field(description="true, the default: probabilities (softmax; of one label a sigmoid); false: the logits"),
    ] = None
    truncate_prompt_tokens: Annotated[
        OnlyMinusOne | None,
        Field(description="-1: cut texts that are too long at what the model takes; default: --truncate"),
    ] = None
    add_special_tokens: Annotated[OnlyTrue | None, Field(description="texts get the model's own")] = None
    padding: Annotated[Literal["do_not_pad"] | None, Field(description="texts are not padded")] = None
    truncation_side: Annotated[Literal["right"] | None, Field(description="texts are cut at their end")] = None


class _Class(Answer):
    index: int
    label: Annotated[str, Field(examples=["LABEL_0"])]
    probs: Annotated[list[float], Field(examples=[[0.9, 0.1]])]
    num_classes: Annotated[int, Field(examples=[2])]
    truncated: Annotated[Literal[True] | None, Field(description="where the text was too long and was cut")] = None


class Classified(Answer):
    """One object a text, in their order."""

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
    tokens: Annotated[Many[TokenId], Field(examples=[[101, 7592, 102]])]


class Detokenized(Answer):
    """The text, special tokens included."""

    prompt: Annotated[str, Field(examples=["[CLS] hello [SEP]"])]


class Version(Answer):
    """Of the runtime."""

    version: str
