"""Padded batches: rows of equal length with a mask, for a model's own code."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.device import to_device

__all__ = ["Forward", "Width", "groups", "padding", "prepare"]

Forward = Callable[[TokenBatch], Tensor]
"""Texts in ascending order of length -> hidden states of their tokens, concatenated: shape (tokens, hidden)."""

Width = Callable[[Iterable[int]], int]
"""Lengths of the texts of a group -> length of a row with padding; on a CPU, that of the longest text."""


def prepare(model: PreTrainedModel, width: Width = max) -> Forward:
    """Return a forward function with padded batches."""
    return partial(_forward, model, width)


def _forward(model: PreTrainedModel, width: Width, texts: TokenBatch) -> Tensor:
    lengths = texts.lengths.tolist()
    return torch.cat(
        [_group(model, texts.part(start, stop), width(lengths[start:stop])) for start, stop in groups(lengths)]
    )


def groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Ranges (stop exclusive) of texts of similar length, so that padding adds at most a fifth."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or lengths[stop] > 1.2 * lengths[start]:
            yield start, stop
            start = stop


def padding(lengths: Sequence[int], width: Width = max) -> int:
    """The number of padding tokens for texts with these lengths, in ascending order."""
    return sum(
        width(lengths[start:stop]) * (stop - start) - sum(lengths[start:stop]) for start, stop in groups(lengths)
    )


def _group(model: PreTrainedModel, texts: TokenBatch, width: int) -> Tensor:
    """`width`: length of a row with padding."""
    mask = np.arange(width) < texts.lengths[:, None]
    ids = np.full(
        mask.shape, getattr(model.config, "pad_token_id", None) or 0
    )  # the model's own code may not define it
    ids[mask] = texts.ids
    types = {}
    if texts.types is not None:
        padded_types = np.zeros(mask.shape, dtype=np.int64)
        padded_types[mask] = texts.types
        types["token_type_ids"] = to_device(padded_types, model.device)
    seen = to_device(mask.astype(np.int64), model.device)
    hidden: Tensor = model(input_ids=to_device(ids, model.device), attention_mask=seen, **types).last_hidden_state
    return hidden[seen.bool()]
