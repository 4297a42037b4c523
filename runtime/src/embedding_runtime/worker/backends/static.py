"""Static models on the huggingface backend: the vector of a text is the mean of its tokens' vectors, from a table.

It needs numpy only, and no torch or transformers. The reference is sentence-transformers' StaticEmbedding, which also
averages unknown tokens, and loads the table, mapping and weights of model2vec.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from embedding_runtime.model import Cut, ModelRefused, ModelSpec, Step
from embedding_runtime.model.files import tensors_in
from embedding_runtime.model.static import NAMES
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows, Rows, VectorRows, together
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.base import LoadOptions

__all__ = ["StaticBackend", "load"]


class StaticBackend:
    """A table of token vectors in float32."""

    detail = f"static vectors, numpy {np.__version__}"
    use_half_the_cores = None
    cosine = None
    launch = None
    batch_tokens = 16_384

    def __init__(self, table: VectorRows, steps: Sequence[Step]) -> None:
        self._table, self._steps = table, steps

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> Rows:
        return together([self._tokens(batch) if each is Output.PER_TOKEN else self._texts(batch) for each in output])

    def padding(self, batch: TokenBatch) -> int:  # noqa: ARG002 required by Backend
        return 0

    def _texts(self, batch: TokenBatch) -> VectorRows:
        rows = np.empty((len(batch), self._table.shape[1]), dtype=np.float32)
        for row, ids in zip(rows, batch, strict=True):  # one by one is faster than `np.add.reduceat`
            self._table.take(ids, axis=0).sum(axis=0, out=row)
        rows /= np.maximum(batch.lengths, 1)[:, None].astype(np.float32)
        for step in self._steps:
            rows = rows[:, : step.outputs] if isinstance(step, Cut) else _normalized(rows)
        return np.ascontiguousarray(rows)

    def _tokens(self, batch: TokenBatch) -> RaggedRows:
        return RaggedRows(self._table.take(batch.ids, axis=0), batch.lengths)


def load(spec: ModelSpec, options: LoadOptions | None = None) -> StaticBackend:  # noqa: ARG001 required by the registry
    """Load a table. Raises ModelRefused."""
    tensors = _tensors(spec.directory / "model.safetensors")
    table: npt.NDArray[Any] = next(tensors[name] for name in NAMES if name in tensors)
    if "mapping" in tensors:  # of tokens to rows, after model2vec's quantization of the vocabulary
        table = table[tensors["mapping"]]
    if "weights" in tensors:
        table = table * tensors["weights"][:, None]
    return StaticBackend(np.asarray(table, dtype=np.float32), spec.steps)


def _tensors(path: Path) -> Mapping[str, npt.NDArray[Any]]:
    """The tensors of a file, mapped into memory, which all workers share. Raises ModelRefused."""
    listed = tensors_in(path)
    if unknown := [f"{name} in {tensor.dtype}" for name, tensor in listed.items() if tensor.dtype not in _TYPES]:
        raise ModelRefused(
            f"{path} has {', '.join(unknown)}, but for static models only {', '.join(_TYPES)} are supported: convert it"
        )
    return {
        name: np.memmap(path, _TYPES[tensor.dtype], "r", tensor.start, tensor.shape) for name, tensor in listed.items()
    }


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4", "I8": "i1"}


def _normalized(rows: VectorRows) -> VectorRows:
    """Scale rows to length 1, as torch does: a row of zeros stays as it is."""
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), np.float32(1e-12)))
