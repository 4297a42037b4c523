"""All that the rest of the runtime knows of vLLM or torch."""

from collections.abc import Sequence
from typing import Protocol

from embedding_runtime.wire import TokenIds, VectorRows

__all__ = ["Backend"]


class Backend(Protocol):
    """Turns texts into vectors, pairs into scores. Lives in the worker process; called from one thread only."""

    @property
    def detail(self) -> str:
        """How it computes, in a few words for the log: library, device, type, path."""
        ...

    def embed(self, batch: Sequence[TokenIds]) -> VectorRows:
        """One row a text, in the order given: shape (len(batch), dimensions), float32.

        `batch` is not empty, nor is a text in it; texts have at most `max_length` tokens, ids are below `vocabulary`.
        A row may hold NaN where the model's arithmetic gave it: the front answers for it. Any exception means that the
        process can no longer be trusted, and the worker ends.
        """
        ...
