"""What the bodies of all APIs are made of."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

__all__ = [
    "EXAMPLE",
    "Answer",
    "Body",
    "InputType",
    "Many",
    "ModelName",
    "RequestBody",
    "Text",
    "Texts",
    "Truncate",
    "Vector",
]

EXAMPLE = "This is an example sentence for embedding generation."


class Body(BaseModel):
    """A part of a request. Values are of the type that is written."""

    model_config = ConfigDict(strict=True)


def _with_other_fields(schema: dict[str, Any], model: type["RequestBody"]) -> None:
    """For the API's document: what `RequestBody` says of fields that the model does not have."""
    properties = schema.setdefault("properties", {})
    for name in sorted(model.harmless):
        properties[name] = {"description": "accepted and not used"}
    for name, instead in model.instead.items():
        properties.setdefault(name, {"type": "null", "description": f"not supported: {instead}"})
    schema["additionalProperties"] = {"type": "null"}


class RequestBody(Body):
    """A whole request. Its fields are obeyed; others are harmless, or refused. null counts as left out.

    So no client gets other numbers than it asked for, and none is refused for what changes no number.
    """

    model_config = ConfigDict(json_schema_extra=_with_other_fields)

    harmless: ClassVar[frozenset[str]] = frozenset()
    """Fields that are accepted and not used: they change nothing of the answer."""

    instead: ClassVar[Mapping[str, str]] = {}
    """Fields of other servers that would change the answer and are not supported, and what to do instead.

    Or of this one, where only the value that changes nothing is accepted.
    """


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
