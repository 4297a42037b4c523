"""What the bodies of all APIs are made of."""

from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = ["EXAMPLE", "Answer", "Body", "InputType", "Many", "ModelName", "Text", "Texts", "Truncate", "Vector"]

EXAMPLE = "This is an example sentence for embedding generation."


class Body(BaseModel):
    """A request. Values are of the type that is written; other fields are ignored: clients add their own."""

    model_config = ConfigDict(strict=True)


class Answer(BaseModel):
    """An answer, as it is documented."""


def _encodable(text: str) -> str:
    """JSON can hold half of a surrogate pair, U+D800 alone, which is no text. Raises UnicodeEncodeError."""
    text.encode()
    return text


ModelName = Annotated[str, Field(description="the served model's name")]

Text = Annotated[str, AfterValidator(_encodable)]
TokenId = Annotated[int, Field(ge=0)]

Item = TypeVar("Item")

Many = Annotated[list[Item], Field(fail_fast=True)]
"""One error is enough: a million texts, tried as numbers, would give a million of them, and take half a minute."""

Texts = Annotated[
    Text | Many[Text] | Many[TokenId] | Many[Many[TokenId]],
    Field(
        description="one text or several; or token ids of the model's own tokenizer, special tokens included",
        examples=[EXAMPLE],
    ),
]

Vector = Annotated[list[float], Field(examples=[[0.0078994, 0.00834005, 0.03579672]])]

Truncate = Literal["NONE", "START", "END"]
"""Cohere's words: which end of a text that is too long is left out."""

InputType = Literal["search_query", "search_document", "classification", "clustering", "query", "document", "passage"]
"""Cohere's words, and those of others for the first two."""
