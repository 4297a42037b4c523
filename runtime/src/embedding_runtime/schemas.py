"""The bodies of requests, as OpenAI's API has them. Answers are written straight from the vectors, in `api`."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, Field

__all__ = ["EmbeddingsRequest"]


def _encodable(text: str) -> str:
    """JSON can hold half of a surrogate pair, U+D800 alone, which is no text. Raises UnicodeEncodeError."""
    text.encode()
    return text


Text = Annotated[str, AfterValidator(_encodable)]
TokenId = Annotated[int, Field(strict=True, ge=0)]

_FAIL_FAST = Field(fail_fast=True)
"""One error is enough: a million texts, tried as numbers, would give a million of them, and take half a minute."""

Texts = Annotated[list[Text], _FAIL_FAST]
OneTextsIds = Annotated[list[TokenId], _FAIL_FAST]


class EmbeddingsRequest(BaseModel):
    """`POST /v1/embeddings`. Fields that are not here are ignored: clients and gateways add their own."""

    model: Annotated[str, Field(description="the served model's name")]
    input: Annotated[
        Text | Texts | OneTextsIds | Annotated[list[OneTextsIds], _FAIL_FAST],
        Field(
            description="one text or several; or token ids of the model's own tokenizer, special tokens included",
            examples=["This is an example sentence for embedding generation."],
        ),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Field(description="base64: little-endian float32")
    ] = None
    dimensions: Annotated[int | None, Field(description="the model's own number of dimensions, or nothing")] = None
    user: Annotated[str | None, Field(description="accepted and not used")] = None
