"""All that the rest of the runtime knows of vLLM or torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Backend", "BatchFailed", "Launched", "LoadOptions"]


class BatchFailed(Exception):
    """A batch that cannot be computed, by a backend that vouches for the next one. Words for the worker's log."""


@dataclass(frozen=True)
class LoadOptions:
    """What may be refused when a model is loaded, by flags of the same names; and the worker's part of its GPU."""

    minimum_cosine: float = 0.999
    allow_padded: bool = False
    workers_on_gpu: int = 1

    @property
    def gpu_memory(self) -> float:
        """The part of a GPU's memory that this worker may take, never all of it."""
        return 0.9 / self.workers_on_gpu


class Launched(Protocol):
    """A batch on a GPU, which computes it in the background."""

    def is_done(self) -> bool:
        """Whether `rows` returns immediately."""
        ...

    def rows(self) -> VectorRows:
        """Wait for the result, and return it. See `Backend.embed`."""
        ...


class Backend(Protocol):
    """Turns texts into vectors, pairs into scores. Lives in the worker process."""

    @property
    def detail(self) -> str:
        """How it computes, in a few words for the log: library, device, type, path."""
        ...

    @property
    def cosine(self) -> float | None:
        """Lowest cosine to the vectors in float32 that was measured at start; None: there was nothing to measure."""
        ...

    @property
    def use_half_the_cores(self) -> Callable[[], None] | None:
        """What a thread does before its first batch to compute with half of the machine, beside another one that has
        done so. None: one batch at a time. The main thread has the whole machine.
        """
        ...

    @property
    def launch(self) -> Callable[[TokenBatch], Launched] | None:
        """`embed` in two steps, so that the next batch can be launched while this one is computed. None: not a GPU."""
        ...

    @property
    def batch_tokens(self) -> int:
        """How many tokens of several texts make a batch that keeps the machine busy; more only make others wait."""
        ...

    def embed(self, batch: TokenBatch) -> VectorRows:
        """One row a text, in the order given: shape (len(batch), dimensions), float32.

        `batch` is not empty, nor is a text in it; texts have at most `max_length` tokens, ids are below `vocabulary`.
        A row may hold NaN where the model's arithmetic gave it: the front answers for it. BatchFailed: some text of
        the batch is to blame, and the front finds it. Any other exception means that the process can no longer be
        trusted, and the worker ends.
        """
        ...

    def padding(self, batch: TokenBatch) -> int:
        """How many places `embed` computes for this batch beside its tokens, to make rows of one length; 0: packed."""
        ...
