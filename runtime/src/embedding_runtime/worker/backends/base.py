"""The interface of backends. The rest of the runtime does not depend on vLLM or torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import Rows
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Backend", "BatchFailed", "Launched", "LoadOptions"]


class BatchFailed(Exception):
    """A batch failed, but the backend can compute the next one. The message is for the worker's log."""


@dataclass(frozen=True)
class LoadOptions:
    """Options of loading: the flags of the same names, and how many workers share the GPU."""

    minimum_cosine: float = 0.999
    allow_padded: bool = False
    workers_on_gpu: int = 1

    @property
    def gpu_memory(self) -> float:
        """The share of the GPU's memory that this worker may use."""
        return 0.9 / self.workers_on_gpu


class Launched(Protocol):
    """A batch on a GPU, which computes it in the background."""

    def is_done(self) -> bool:
        """Whether `rows` returns immediately."""
        ...

    def rows(self) -> Rows:
        """Wait for the result, and return it. See `Backend.embed`."""
        ...


class Backend(Protocol):
    """Computes vectors of texts or scores of pairs. Runs in the worker process."""

    @property
    def detail(self) -> str:
        """How it computes, for the log: library, device, data type, implementation."""
        ...

    @property
    def cosine(self) -> float | None:
        """Lowest cosine to the float32 vectors, measured at startup; None if it was not measured."""
        ...

    @property
    def use_half_the_cores(self) -> Callable[[], None] | None:
        """Called by each of two threads before its first batch, so that each uses half of the cores. None: the backend
        computes one batch at a time. The main thread uses all cores.
        """
        ...

    @property
    def launch(self) -> Callable[[TokenBatch, Output], Launched] | None:
        """`embed` in two steps, so that the next batch can be launched while this one is computed. None: not a GPU."""
        ...

    @property
    def batch_tokens(self) -> int:
        """Tokens of a batch that fully uses the machine. Larger batches only delay other requests."""
        ...

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> Rows:
        """Return one row per text, in order: shape (len(batch), dimensions), float32; ragged rows of a sparse encoder,
        or of token outputs; a RowSet of several outputs. Frontends request those that the backend
        supports.

        `batch` has at least one text, and each text at least one token and at most `max_length`; ids are below
        `vocabulary`. Rows may contain NaN; the frontend reports it. Raises BatchFailed if a text of the batch causes an
        error; the scheduler then finds out which. After any other exception the worker process exits.
        """
        ...

    def padding(self, batch: TokenBatch) -> int:
        """Number of padding tokens that `embed` computes for this batch; 0 for packed batches."""
        ...
