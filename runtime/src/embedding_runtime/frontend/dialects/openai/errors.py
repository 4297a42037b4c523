"""OpenAI's dialect and its error format."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect, Failure

__all__ = ["OPENAI", "OpenAIError", "format_error"]


class _Error(Answer):
    message: Annotated[
        str, Field(examples=["input[0] has 300 tokens; the model's maximum is 256: shorten or split the text"])
    ]
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: Annotated[str | None, Field(examples=["input"])]
    code: Annotated[str | None, Field(examples=["context_length_exceeded"])]


class OpenAIError(Answer):
    """OpenAI's error envelope."""

    error: _Error


def format_error(failure: Failure) -> Mapping[str, Any]:
    """Format a failure as OpenAI does."""
    return {
        "error": {
            "message": failure.message,
            "type": failure.type,
            "param": failure.param,
            "code": failure.code,
        }
    }


OPENAI = Dialect("OpenAI", OpenAIError, format_error)
