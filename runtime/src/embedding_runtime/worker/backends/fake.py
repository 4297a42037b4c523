"""A backend without a model, for tests and for trying out the server. Vectors depend only on the token ids."""

import numpy as np

from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows, Rows, VectorRows, together
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds
from embedding_runtime.worker.backends.base import LoadOptions

__all__ = ["FakeBackend", "load"]


class FakeBackend:
    """Returns a unit vector (for cross-encoders: scores between 0 and 1) that depends only on the ids of a text.

    Sparse vectors have the number of each token.
    """

    detail = "fake vectors, for tests only"
    use_half_the_cores = None
    cosine = None
    launch = None
    batch_tokens = 2048

    def __init__(self, spec: ModelSpec) -> None:
        self._spec = spec

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> Rows:
        return together([self._output(batch, each) for each in output])

    def padding(self, batch: TokenBatch) -> int:  # noqa: ARG002 required by Backend
        return 0

    def _output(self, batch: TokenBatch, output: Output) -> VectorRows | RaggedRows:
        if output in (Output.PER_TOKEN, Output.COLBERT):
            rows = [self._row(ids[:1], self._spec.hidden) for ids in batch.ids[:, None]]
            return RaggedRows(np.stack(rows), batch.lengths)
        if output is Output.SPARSE or self._spec.splade is not None:
            return _counted(batch)
        found = np.stack([self._row(ids, self._spec.dimensions) for ids in _marked(batch)])
        return np.log(found / (1 - found)) if output is Output.LOGITS else found

    def _row(self, ids: TokenIds, size: int) -> VectorRows:
        random = np.random.default_rng(ids.astype(np.uint32))
        if self._spec.scores is not None:
            return random.random(size, dtype=np.float32)
        row = random.standard_normal(size, dtype=np.float32)
        return row / np.linalg.norm(row)


def _marked(batch: TokenBatch) -> TokenBatch:
    """Change the ids of a pair's second text, so that the order of the texts changes the scores."""
    return batch if batch.types is None else TokenBatch(batch.ids + (batch.types.astype(np.int32) << 30), batch.lengths)


def _counted(batch: TokenBatch) -> RaggedRows:
    """Sparse vectors: how often each token occurs in a text."""
    counted = [np.unique(ids, return_counts=True) for ids in batch]
    values = np.concatenate([counts for _, counts in counted]).astype(np.float32)[:, None]
    lengths = np.array([len(found) for found, _ in counted], dtype=np.uint32)
    return RaggedRows(values, lengths, np.concatenate([found for found, _ in counted]).astype(np.int32))


def load(spec: ModelSpec, options: LoadOptions | None = None) -> FakeBackend:  # noqa: ARG001 required by the registry
    """Create the backend. It reads no weights."""
    return FakeBackend(spec)
