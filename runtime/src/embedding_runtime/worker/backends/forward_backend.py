"""A backend that computes batches with one forward function, and rows with the heads of a model."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows, Rows, VectorRows, together
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import cores, padded, scoring
from embedding_runtime.worker.backends.device import HostCopy
from embedding_runtime.worker.backends.failure import batch_failed
from embedding_runtime.worker.backends.padded import Forward, Width
from embedding_runtime.worker.backends.ragged import RaggedCopy, RaggedTensors, RowsCopy
from embedding_runtime.worker.backends.token_heads import TokenHead
from embedding_runtime.worker.backends.transformer import ApplyHead

__all__ = ["ForwardBackend"]

_CPU_BATCH_TOKENS = 1024
"""Measured: 2,048 tokens are as fast but double the latency; 512 and 4,096 are slower."""

_GPU_BATCH_TOKENS = 16_384
"""Measured on an H200: 8,192 tokens are a tenth slower per token; 32,768 are hardly faster and double the latency."""


class ForwardBackend:
    """A backend around a forward function."""

    def __init__(
        self,
        forward: Forward,
        head: ApplyHead,
        detail: str,
        *,
        packs: bool = False,
        halves: bool = False,
        width: Width = max,
        sorts: bool = True,
    ) -> None:
        """`head`: computes Output.PER_TEXT. `packs`: `forward` does not pad. `width`: else the length of padded texts.

        `halves`: two threads may call `forward` at once. `sorts`: it needs texts sorted by ascending length.
        """
        self._forward, self.detail, self._packs = forward, detail, packs
        self.heads: dict[Output, TokenHead] = {
            Output.PER_TEXT: lambda hidden, texts: _copied(head(hidden, texts)),
            Output.PER_TOKEN: lambda hidden, texts: _copied(RaggedTensors(hidden.float(), texts.lengths.tolist())),
        }
        if isinstance(head, scoring.Head | scoring.Layer):
            self.heads[Output.LOGITS] = lambda hidden, texts: HostCopy(head.logits(head.reads(hidden, texts)))
        self._width, self._sorts, self._halves = width, sorts, halves
        self.cosine: float | None = None
        self.batch_tokens = _GPU_BATCH_TOKENS if torch.cuda.is_available() else _CPU_BATCH_TOKENS
        self.launch = self._launch if torch.cuda.is_available() else None

    @property
    def use_half_the_cores(self) -> Callable[[], None] | None:
        return cores.one_of_two() if self._halves else None

    def embed(self, batch: TokenBatch, output: Output = Output.PER_TEXT) -> Rows:
        return self._launch(batch, output).rows()

    @torch.inference_mode()
    def _launch(self, batch: TokenBatch, output: Output) -> "_Launched":
        try:
            order = self._order(batch)
            texts = batch if order is None else batch.reordered(order)
            hidden = self._forward(texts)
            return _Launched([self.heads[each](hidden, texts) for each in output], order)
        except Exception as error:
            raise batch_failed(error) from error

    def padding(self, batch: TokenBatch) -> int:
        return 0 if self._packs else padded.padding(sorted(batch.lengths.tolist()), self._width)

    def _order(self, batch: TokenBatch) -> npt.NDArray[np.int64] | None:
        """The order in which texts are computed; None: the given order."""
        if not self._sorts or len(batch) == 1 or (np.diff(batch.lengths.astype(np.int64)) >= 0).all():
            return None
        return np.argsort(batch.lengths, kind="stable")


class _Launched:
    """A batch that a GPU is computing, or a CPU has computed."""

    def __init__(self, outputs: Sequence[RowsCopy], order: npt.NDArray[np.int64] | None) -> None:
        self._outputs, self._order = outputs, order

    def is_done(self) -> bool:
        return all(output.is_done() for output in self._outputs)

    def rows(self) -> Rows:
        try:
            return together([self._in_order(output.wait()) for output in self._outputs])
        except Exception as error:
            raise batch_failed(error) from error

    def _in_order(self, found: VectorRows | RaggedRows) -> VectorRows | RaggedRows:
        """Rows in the order of the request."""
        if self._order is None:
            return found
        if isinstance(found, RaggedRows):
            return found.reordered(np.argsort(self._order))
        rows = np.empty_like(found)
        rows[self._order] = found
        return rows


def _copied(rows: Tensor | RaggedTensors) -> RowsCopy:
    return HostCopy(rows) if isinstance(rows, Tensor) else RaggedCopy(rows)
