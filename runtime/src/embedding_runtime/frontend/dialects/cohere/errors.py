"""Cohere's dialect and its error format."""

from embedding_runtime.frontend.dialects.base import Answer
from embedding_runtime.frontend.dialects.dialect import Dialect

__all__ = ["COHERE", "CohereError"]


class CohereError(Answer):
    """Cohere's error format."""

    message: str


COHERE = Dialect("Cohere", CohereError, lambda failure: {"message": failure.message})
