"""Vectors that depend on the token ids alone, without a model: for tests and for trying the server out."""

from collections.abc import Sequence

import numpy as np

from embedding_runtime.modelspec import ModelSpec
from embedding_runtime.wire import TokenIds, VectorRows

__all__ = ["FakeBackend", "load"]


class FakeBackend:
    """Equal ids give equal unit vectors, others give others; of the model it takes the number of dimensions."""

    detail = "fake vectors, for tests only"

    def __init__(self, dimensions: int) -> None:
        self._dimensions = dimensions

    def embed(self, batch: Sequence[TokenIds]) -> VectorRows:
        return np.stack([self._row(ids) for ids in batch])

    def _row(self, ids: TokenIds) -> VectorRows:
        row = np.random.default_rng(ids.astype(np.uint32)).standard_normal(self._dimensions, dtype=np.float32)
        return row / np.linalg.norm(row)


def load(spec: ModelSpec) -> FakeBackend:
    """Reads no weights."""
    return FakeBackend(spec.dimensions)
