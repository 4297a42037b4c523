"""Vectors that depend on the token ids alone, without a model: for tests and for trying the server out."""

from collections.abc import Sequence

import numpy as np

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.messages import TokenIds, VectorRows
from embedding_runtime.worker.backends.base import LoadOptions

__all__ = ["FakeBackend", "load"]


class FakeBackend:
    """Equal ids give equal unit vectors (scores between 0 and 1), others give others; the model says how many."""

    detail = "fake vectors, for tests only"
    halve = None
    cosine = None
    batch_tokens = 2048

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def embed(self, batch: Sequence[TokenIds]) -> VectorRows:
        return np.stack([self._row(ids) for ids in batch])

    def padding(self, batch: Sequence[TokenIds]) -> int:  # noqa: ARG002 it is the protocol's
        return 0

    def _row(self, ids: TokenIds) -> VectorRows:
        random = np.random.default_rng(ids.astype(np.uint32))
        if self._spec.scores is not None:
            return random.random(self._spec.dimensions, dtype=np.float32)
        row = random.standard_normal(self._spec.dimensions, dtype=np.float32)
        return row / np.linalg.norm(row)


def load(spec: ModelSpec, options: LoadOptions | None = None) -> FakeBackend:  # noqa: ARG001 as every backend
    """Reads no weights."""
    return FakeBackend(spec)
