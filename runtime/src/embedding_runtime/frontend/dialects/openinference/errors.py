"""Open Inference's dialect and its error format."""

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect

__all__ = ["OPEN_INFERENCE", "InferenceError"]


class InferenceError(Answer):
    """Open Inference's error format."""

    error: str


OPEN_INFERENCE = Dialect("Open Inference", InferenceError, lambda failure: {"error": failure.message}, prefix="/v2")
