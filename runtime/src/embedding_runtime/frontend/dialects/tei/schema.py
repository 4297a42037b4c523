"""Text Embeddings Inference's bodies; and vLLM's for the one path that both have, /tokenize."""

from typing import Annotated, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import Answer, Many, ModelName, RequestBody, Text, Texts
from embedding_runtime.frontend.dialects.other_fields import HARMLESS, IN_TEI, IN_TOKENIZE

__all__ = ["EmbedRequest", "Info", "TeiToken", "TokenizeRequest", "Tokenized"]


class EmbedRequest(RequestBody):
    """`POST /embed`."""

    harmless = HARMLESS | {"options"}  # of the Hugging Face hub's API: whether to wait for a model
    instead = IN_TEI

    model: ModelName | None = None

    inputs: Texts
    truncate: Annotated[bool | None, Field(description="cut texts that are too long, instead of refusing them")] = None
    truncation_direction: Annotated[
        Literal["left", "right", "Left", "Right"] | None, Field(description="the end to cut; default: right")
    ] = None
    normalize: Annotated[bool | None, Field(description="vectors of length 1; default: true")] = None
    prompt_name: Annotated[Text | None, Field(description="which of the model's prompts stands before the texts")] = (
        None
    )
    dimensions: Annotated[int | None, Field(ge=1, description="cut the vectors to so many dimensions")] = None


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

    harmless = HARMLESS
    instead = IN_TOKENIZE

    model: ModelName | None = None
    inputs: Annotated[Text | Many[Text] | None, Field(examples=["What is deep learning?"])] = None
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
