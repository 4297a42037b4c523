"""How each API tells an error, for the documentation."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from embedding_runtime.frontend.dialects.base import Answer

__all__ = ["CohereError", "InferenceError", "OpenAIError", "TeiError", "failures"]


class _Fault(Answer):
    message: Annotated[str, Field(examples=["input[0] has 300 tokens; the model takes 256 at most"])]
    type: Annotated[str, Field(examples=["invalid_request_error"])]
    param: Annotated[str | None, Field(examples=["input"])]
    code: Annotated[str | None, Field(examples=["context_length_exceeded"])]


class OpenAIError(Answer):
    """OpenAI's envelope."""

    error: _Fault


class CohereError(Answer):
    """Cohere's."""

    message: str


class TeiError(Answer):
    """Text Embeddings Inference's."""

    error: str
    error_type: Literal["Validation", "Overloaded", "Unhealthy", "Backend"]


class InferenceError(Answer):
    """Open Inference's."""

    error: str


_STATUSES: Mapping[int, str] = {
    400: "the request cannot be served as it is; the message names the field and what is allowed",
    401: "no API key, or none of this server's, where it has keys",
    404: "another model than the one that is served",
    408: "the body was not there in time",
    413: "the body is larger than the server reads",
    429: "too much waits already, or the API key's tokens of this minute are spent; Retry-After has seconds",
    500: "the model gave NaN or infinity or cannot compute a text, or a fault of the server",
    503: "the model is still loading, or its process has failed",
    504: "no vectors in the time that the request had",
}


def failures(shape: type[Answer], *only: int) -> dict[int | str, dict[str, Any]]:
    """What a route can answer instead, for FastAPI's `responses`; `only` some of what those that compute can."""
    return {status: {"model": shape, "description": _STATUSES[status]} for status in only or _STATUSES}
