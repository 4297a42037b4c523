"""Open Inference's errors, and its dialect."""

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect

__all__ = ["OPEN_INFERENCE", "InferenceError"]


class InferenceError(Answer):
    """Open Inference's."""

    error: str


OPEN_INFERENCE = Dialect("Open Inference", InferenceError, lambda failure: {"error": failure.message}, prefix="/v2")
