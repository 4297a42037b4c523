"""Building blocks of the request and response schemas of all dialects."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal, Self, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema
from starlette.datastructures import Headers

from embedding_runtime.protocol.requests import Lane

__all__ = [
    "EXAMPLE",
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
    "RequestBody",
    "Text",
    "TextOrTexts",
    "Texts",
    "TokenId",
    "Truncate",
    "Vector",
]

EXAMPLE = "This is an example sentence for embedding generation."


class Body(BaseModel):
    """A part of a request. Values are taken as they are: no number is read from a string."""

    model_config = ConfigDict(strict=True)


def _with_other_fields(schema: dict[str, Any], model: type["RequestBody"]) -> None:
    """Add the fields that are ignored or refused to the OpenAPI document."""
    properties = schema.setdefault("properties", {})
    for name in sorted(model.ignored):
        properties.setdefault(name, {"description": "accepted and ignored"})
    for name, instead in model.refused.items():
        properties.setdefault(name, {"type": "null", "description": f"not supported: {instead}"})
    schema["additionalProperties"] = {"type": "null"}


class RequestBody(Body):
    """A whole request: its fields are obeyed, others are ignored where that is harmless, or refused by name.

    So no client gets other numbers than it asked for, and none is refused for what changes no number. null counts as
    left out.
    """

    model_config = ConfigDict(json_schema_extra=_with_other_fields)

    priority: Annotated[
        int | None,
        Field(
            description="as vLLM and Cohere have it: a request of less than 0 is interactive, one of more is bulk. "
            "0, the default: up to eight texts are interactive. The header X-Priority, interactive or bulk, goes first"
        ),
    ] = None

    dropped: ClassVar[frozenset[str]] = frozenset()
    """Fields with texts that nothing reads once they are tokenized. Without one, the body counts as held to the end."""

    ignored: ClassVar[frozenset[str]] = frozenset()
    """Fields that are accepted and ignored, since they change nothing of the answer."""

    refused: ClassVar[Mapping[str, str]] = {}
    """Fields of other servers that would change the answer and are not supported, with what to use instead.

    Also fields of this model of which only the value that changes nothing is accepted.
    """

    @classmethod
    def split(cls, content: bytes, headers: Headers) -> tuple[bytes, bytes] | None:
        """The JSON of a body, and what follows it; None where the body does not say that it is JSON."""
        return (content, b"") if is_json(headers) else None

    def attach(self, rest: bytes) -> Self:
        """The request with what followed its JSON. Raises BadRequest."""
        del rest
        return self

    @property
    def lane(self) -> Lane | None:
        """What `priority` says."""
        if not self.priority:
            return None
        return Lane.INTERACTIVE if self.priority < 0 else Lane.BULK

    def drop_texts(self) -> None:
        """Forget them: a request that waits for its vectors holds its token ids alone."""
        for name in self.dropped:
            self.__dict__[name] = None


def is_json(headers: Headers) -> bool:
    """Whether a request says that its body is JSON."""
    return _JSON.match(headers.get("content-type", "")) is not None


_JSON = re.compile(r"application/([\w.+-]+\+)?json\s*(;|$)", re.IGNORECASE | re.ASCII)


class Answer(BaseModel):
    """An answer, as it is documented."""


@dataclass(frozen=True)
class Form:
    """Annotation of a field that takes several forms: one error in these words, instead of one a form."""

    words: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """Raises no error of the forms themselves."""
        return core_schema.custom_error_schema(
            handler(source), custom_error_type="form", custom_error_message=f"it has to be {self.words}"
        )


def _encodable(text: str) -> str:
    """JSON can hold half of a surrogate pair, U+D800 alone, which is no text. Raises UnicodeEncodeError."""
    text.encode()
    return text


def _a_boolean(given: object) -> object:
    """Literal[False] takes 0, too. Raises ValueError."""
    if not isinstance(given, bool):
        raise ValueError("Input should be a valid boolean")  # noqa: TRY004 pydantic's own, of any type
    return given


OnlyTrue = Annotated[Literal[True], BeforeValidator(_a_boolean)]
OnlyFalse = Annotated[Literal[False], BeforeValidator(_a_boolean)]
OnlyZero = Annotated[int, Field(ge=0, le=0)]
OnlyMinusOne = Annotated[int, Field(ge=-1, le=-1)]

ModelName = Annotated[str, Field(description="name of the served model, or one of its aliases; optional")]

Text = Annotated[str, AfterValidator(_encodable)]
TokenId = Annotated[int, Field(ge=0)]

Item = TypeVar("Item")

Many = Annotated[list[Item], Field(fail_fast=True)]
"""One error is enough: a million texts, tried as numbers, would give a million of them, and take half a minute."""

Texts = Annotated[
    Text | Many[Text] | Many[TokenId] | Many[Many[TokenId]],
    Form(
        "a string, a list of strings, a list of token ids, or a list of lists of token ids; strings of whole Unicode "
        "characters"
    ),
    Field(
        description="one text or several; or token ids of the model's own tokenizer, special tokens included",
        examples=[EXAMPLE],
    ),
]

TextOrTexts = Annotated[Text | Many[Text], Form("a string or a list of strings, of whole Unicode characters")]

Vector = Annotated[list[float], Field(examples=[[0.0078994, 0.00834005, 0.03579672]])]

Truncate = Literal["NONE", "START", "END"]
"""Cohere's words: which end of a text that is too long is left out."""

InputType = Literal["search_query", "search_document", "classification", "clustering", "query", "document", "passage"]
"""Cohere's words, and those of others for the first two."""
