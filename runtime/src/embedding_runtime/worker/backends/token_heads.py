"""BGE-M3's sparse vectors and ColBERT vectors, from the hidden states that the vector of the text is pooled from.

The reference is FlagEmbedding's BGEM3FlagModel: FlagEmbedding/finetune/embedder/encoder_only/m3/modeling.py for the
layers, and FlagEmbedding/inference/embedder/encoder_only/m3.py for the tokens that it leaves out.
"""

import pickle
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from embedding_runtime.model import ModelRefused, ModelSpec
from embedding_runtime.protocol.requests import Output
from embedding_runtime.protocol.rows import RaggedRows
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import tokenizer_check
from embedding_runtime.worker.backends.device import HostCopy, to_device
from embedding_runtime.worker.backends.ragged import RaggedCopy, RaggedTensors, RowsCopy

__all__ = ["TokenHead", "load"]

TokenHead = Callable[[Tensor, TokenBatch], RowsCopy]
"""Hidden states of concatenated texts (tokens, hidden), and the texts -> one output."""


def load(spec: ModelSpec, device: torch.device) -> Mapping[Output, TokenHead]:
    """Load the layers that the model has and may load. Raises ModelRefused."""
    found: dict[Output, TokenHead] = {}
    files = spec.token_heads.files
    if "sparse" in files:
        found[Output.SPARSE] = _Sparse(_linear(files["sparse"], spec.hidden, 1, device), _special_ids(spec))
    if "colbert" in files:
        found[Output.COLBERT] = _Colbert(_linear(files["colbert"], spec.hidden, spec.hidden, device))
    return found


class _Sparse:
    """A weight for each token. The sparse vector of a text has the largest one of each token id."""

    def __init__(self, linear: nn.Linear, unused: Sequence[int]) -> None:
        """`unused`: token ids without a weight."""
        self._linear, self._unused = linear, unused

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> RowsCopy:
        return _SparseCopy(HostCopy(self._linear(hidden.float())[:, 0].relu()), texts, self._unused)


class _SparseCopy:
    """A copy of the weights of all tokens, from which the host makes sparse vectors."""

    def __init__(self, weights: HostCopy, texts: TokenBatch, unused: Sequence[int]) -> None:
        self._weights, self._texts, self._unused = weights, texts, unused
        self.is_done = weights.is_done

    def wait(self) -> RaggedRows:
        weights, texts = self._weights.wait(), self._texts
        kept = ~(np.isin(texts.ids, self._unused) | (weights <= 0))  # NaN is kept, and reported
        text = np.repeat(np.arange(len(texts)), texts.lengths)[kept]
        numbers, place = np.unique(text << _ID_BITS | texts.ids[kept], return_inverse=True)
        values = np.zeros(len(numbers), dtype=np.float32)
        with np.errstate(invalid="ignore"):
            np.maximum.at(values, place, weights[kept])
        lengths = np.bincount(numbers >> _ID_BITS, minlength=len(texts)).astype(np.uint32)
        return RaggedRows(values[:, None], lengths, (numbers & (1 << _ID_BITS) - 1).astype(np.int32))


_ID_BITS = 32


class _Colbert:
    """A vector of length 1 for each token but the first."""

    def __init__(self, linear: nn.Linear) -> None:
        self._linear = linear

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> RowsCopy:
        others = np.ones(texts.tokens, dtype=np.bool_)
        others[texts.places[:-1]] = False
        vectors = self._linear(hidden[to_device(others, hidden.device)].float())
        return RaggedCopy(RaggedTensors(normalize(vectors), (texts.lengths - 1).tolist()))


def _linear(file: Path, inputs: int, outputs: int, device: torch.device) -> nn.Linear:
    """Load a layer in float32. Raises ModelRefused. `weights_only`: the pickle may have tensors only, and no code."""
    try:
        weights = torch.load(file, map_location="cpu", weights_only=True)
        with torch.device("meta"):  # no memory for sizes that the weights do not have
            layer = nn.Linear(inputs, outputs)
        layer.load_state_dict(weights, assign=True)
    except (EOFError, RuntimeError, TypeError, pickle.UnpicklingError) as error:
        raise ModelRefused(
            f"{file} is not a linear layer with {inputs} inputs and {outputs} outputs: {' '.join(str(error).split())}; "
            "download the model again, or remove the file to serve the model without this output"
        ) from error
    return layer.to(device, torch.float32)


def _special_ids(spec: ModelSpec) -> Sequence[int]:
    tokenizer = tokenizer_check.reference(spec)
    ids = (tokenizer.cls_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id, tokenizer.unk_token_id)
    return [id_ for id_ in ids if id_ is not None]
