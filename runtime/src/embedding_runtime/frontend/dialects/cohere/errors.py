"""Cohere's errors, and its dialect."""

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect

__all__ = ["COHERE", "CohereError"]


class CohereError(Answer):
    """Cohere's."""

    message: str


COHERE = Dialect("Cohere", CohereError, lambda failure: {"message": failure.message})
