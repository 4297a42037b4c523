"""Text Embeddings Inference's dialect, error format and status codes."""

from collections.abc import Mapping
from typing import Any, Literal

from embedding_runtime import errors
from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect, Failure

__all__ = ["TEI", "TeiError"]


class TeiError(Answer):
    """Text Embeddings Inference's error format."""

    error: str
    error_type: Literal["Validation", "Overloaded", "Unhealthy", "Backend"]


_TYPES: Mapping[int, str] = {
    424: "Backend",
    429: "Overloaded",
    500: "Backend",
    503: "Unhealthy",
    504: "Overloaded",
}


def _format_error(failure: Failure) -> Mapping[str, Any]:
    return {"error": failure.message, "error_type": _TYPES.get(failure.status, "Validation")}


TEI = Dialect(
    "Text Embeddings Inference",
    TeiError,
    _format_error,
    # As in TEI's router/src/http/server.rs: 413 means inputs that are too long or too many.
    statuses={
        errors.BadRequest: 422,
        errors.MalformedBody: 400,
        errors.InputTooLong: 413,
        errors.RequestTooLarge: 413,
        errors.ExceedsKeyLimit: 413,
        errors.UnsupportedTask: 424,
        errors.OneText: 424,
    },
)
