"""OpenAI's envelope of an error, and its dialect."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect, Failure

__all__ = ["OPENAI", "OpenAIError", "worded"]


class _Error(Answer):
    message: Annotated[str, Field(examples=["input[0] has 300 tokens; the model takes 256 at most"])]
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: Annotated[str | None, Field(examples=["input"])]
    code: Annotated[str | None, Field(examples=["context_length_exceeded"])]


class OpenAIError(Answer):
    """OpenAI's envelope."""

    error: _Error


def worded(failure: Failure) -> Mapping[str, Any]:
    """As OpenAI words it."""
    return {
        "error": {
            "message": failure.message,
            "type": failure.type,
            "param": failure.param,
            "code": failure.code,
        }
    }


OPENAI = Dialect("OpenAI", OpenAIError, worded)
