"""Vectors that depend on the token ids alone, without a model: for tests and for trying the server out."""

import numpy as np

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.messages import VectorRows
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds
from embedding_runtime.worker.backends.base import LoadOptions

__all__ = ["FakeBackend", "load"]


class FakeBackend:
    """Equal ids give equal unit vectors (scores between 0 and 1), others give others; the model says how many."""

    detail = "fake vectors, for tests only"
    use_half_the_cores = None
    cosine = None
    launch = None
    batch_tokens = 2048

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def embed(self, batch: TokenBatch) -> VectorRows:
        return np.stack([self._row(ids) for ids in _marked(batch)])

    def padding(self, batch: TokenBatch) -> int:  # noqa: ARG002 it is the protocol's
        return 0

    def _row(self, ids: TokenIds) -> VectorRows:
        random = np.random.default_rng(ids.astype(np.uint32))
        if self._spec.scores is not None:
            return random.random(self._spec.dimensions, dtype=np.float32)
        row = random.standard_normal(self._spec.dimensions, dtype=np.float32)
        return row / np.linalg.norm(row)


def _marked(batch: TokenBatch) -> TokenBatch:
    """With other ids for a pair's second text: the same ids as first and as second text are not the same pair."""
    return batch if batch.types is None else TokenBatch(batch.ids + (batch.types.astype(np.int32) << 30), batch.lengths)


def load(spec: ModelSpec, options: LoadOptions | None = None) -> FakeBackend:  # noqa: ARG001 as every backend
    """Reads no weights."""
    return FakeBackend(spec)
