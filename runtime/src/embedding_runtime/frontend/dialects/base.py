"""Building blocks of the request and response schemas of all dialects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    model_validator,
)
from pydantic_core import CoreSchema, core_schema
from starlette.datastructures import Headers

from embedding_runtime.protocol.requests import Lane

__all__ = [
    "EXAMPLE",
    "PLAUSIBLE_NAME",
    "Answer",
    "Body",
    "Form",
    "InputType",
    "Many",
    "ModelName",
    "OnlyFalse",
    "OnlyMinusOne",
    "OnlyTrue",
    "OnlyZero",
    "Part",
    "RequestBody",
    "SparseValue",
    "Text",
    "TextOrTexts",
    "Texts",
    "TokenId",
    "Truncate",
    "Vector",
]

EXAMPLE = "This is an example sentence for embedding generation."


class Body(BaseModel):
    """A part of a request. Validation is strict: a string is not converted to a number."""

    model_config = ConfigDict(strict=True)


PLAUSIBLE_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
"""A plausible name of a field. Anything else could be a user's text and is not repeated."""

_MOST_NAMES = 20


class Part(Body):
    """An object in a request. As at the top level, unknown fields are rejected by name, and null is an absent field."""

    model_config = ConfigDict(extra="forbid")  # for the OpenAPI document; _known words the error

    @model_validator(mode="before")
    @classmethod
    def _known(cls, given: Any) -> Any:
        """Raises ValueError."""
        if not isinstance(given, dict) or given.keys() <= cls.model_fields.keys():
            return given
        found = {name: value for name, value in given.items() if value is not None or name in cls.model_fields}
        if unknown := found.keys() - cls.model_fields.keys():
            named = [f" {name}" for name in sorted(unknown) if PLAUSIBLE_NAME.fullmatch(name)]
            raise ValueError(
                f"unknown field{''.join(named[:_MOST_NAMES])}; valid fields: {', '.join(cls.model_fields)}"
            )
        return found


def _with_other_fields(schema: dict[str, Any], model: type["RequestBody"]) -> None:
    """Add the ignored and the rejected fields to the OpenAPI document."""
    properties = schema.setdefault("properties", {})
    for name in sorted(model.ignored):
        properties.setdefault(name, {"description": "accepted and ignored"})
    for name, instead in model.refused.items():
        properties.setdefault(name, {"type": "null", "description": f"not supported: {instead}"})
    schema["additionalProperties"] = {"type": "null"}


class RequestBody(Body):
    """The body of a request: every field is either supported, ignored because it is harmless, or rejected by name.

    A client therefore never gets numbers that its request did not describe, and no request is rejected for a field that
    does not change the numbers. null is the same as an absent field.
    """

    model_config = ConfigDict(json_schema_extra=_with_other_fields)

    priority: Annotated[
        int | None,
        Field(
            description="queue priority, as in vLLM and Cohere: below 0 is interactive, above 0 is bulk. With 0, the "
            "default, a request of up to eight texts is interactive and a larger one is bulk. The header X-Priority "
            "(interactive or bulk) overrides this field"
        ),
    ] = None

    dropped: ClassVar[frozenset[str]] = frozenset()
    """Fields whose texts can be freed after tokenization. If there are none, the body is held until the response."""

    ignored: ClassVar[frozenset[str]] = frozenset()
    """Fields that are accepted and ignored because they do not change the response."""

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields of other servers that would change the response and are not supported, with what to use instead.

    Also fields of this model that accept only the value that changes nothing.
    """

    @classmethod
    def split(cls, content: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """Split a body into its JSON and the bytes after it. None if the Content-Type is not JSON."""
        return (content, b"") if is_json(headers) else None

    def attach(self, rest: bytes) -> Self:
        """Return the request with the bytes that followed its JSON. Raises BadRequest."""
        del rest
        return self

    @property
    def lane(self) -> Lane | None:
        """The lane that `priority` selects; None for the default."""
        if not self.priority:
            return None
        return Lane.INTERACTIVE if self.priority < 0 else Lane.BULK

    def drop_texts(self) -> None:
        """Free the texts: a queued request needs its token ids only."""
        for name in self.dropped:
            self.__dict__[name] = None


def is_json(headers: Headers) -> bool:
    """Whether the Content-Type is JSON."""
    return _JSON.match(headers.get("content-type", "")) is not None


_JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;|$)", re.IGNORECASE | re.ASCII)


class Answer(BaseModel):
    """A response, for the OpenAPI document."""


@dataclass(frozen=True)
class Form:
    """Annotation of a field that accepts several forms: one error message for all, instead of one for each form."""

    expected: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Replace the errors of the single forms by one."""
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="form", custom_error_message=f"must be {self.expected}"
        )


def _encodable(text: str) -> str:
    """Reject an unpaired surrogate (U+D800 alone), which JSON can hold. Raises ValueError."""
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("must be valid Unicode, without unpaired surrogates") from None
    return text


def _a_boolean(given: object) -> object:
    """Reject 0 and 1, which Literal[False] and Literal[True] accept. Raises ValueError."""
    if not isinstance(given, bool):
        raise ValueError("Input should be a valid boolean")  # noqa: TRY004 pydantic's message, whatever the type
    return given


OnlyTrue = Annotated[Literal[True], BeforeValidator(_a_boolean)]
OnlyFalse = Annotated[Literal[False], BeforeValidator(_a_boolean)]
OnlyZero = Annotated[int, Field(ge=0, le=0)]
OnlyMinusOne = Annotated[int, Field(ge=-1, le=-1)]

ModelName = Annotated[str, Field(description="name of the served model, or one of its aliases; may be omitted")]

Text = Annotated[str, AfterValidator(_encodable)]
TokenId = Annotated[int, Field(ge=0)]

Item = TypeVar("Item")

Many = Annotated[list[Item], Field(fail_fast=True)]
"""Validation stops at the first error: a million texts checked as numbers would give a million errors and take 30 s."""

Texts = Annotated[
    Text | Many[Text] | Many[TokenId] | Many[Many[TokenId]],
    Form(
        "a string, a list of strings, a list of token ids, or a list of lists of token ids; strings must be valid "
        "Unicode"
    ),
    Field(
        description="one text or several, or token ids from the model's own tokenizer, special tokens included",
        examples=[EXAMPLE],
    ),
]

TextOrTexts = Annotated[Text | Many[Text], Form("a string or a list of strings, in valid Unicode")]


class SparseValue(Answer):
    """A number of a sparse vector. The numbers of a text are a list, by ascending index."""

    index: Annotated[int, Field(examples=[7592], description="token id")]
    value: Annotated[float, Field(examples=[1.3863])]


Vector = Annotated[list[float], Field(examples=[[0.0078994, 0.00834005, 0.03579672]])]

Truncate = Literal["NONE", "START", "END"]
"""Cohere's values: the end at which a text that is too long is truncated."""

InputType = Literal["search_query", "search_document", "classification", "clustering", "query", "document", "passage"]
"""Cohere's values, and other servers' synonyms of the first two."""
