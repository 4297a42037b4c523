"""Batches as a model's own code takes them: rows of equal length, filled up and masked."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["Forward", "groups", "padding", "prepare"]

Forward = Callable[[TokenBatch], Tensor]
"""Texts in rising order of length -> the hidden states of their tokens, end to end: shape (tokens, hidden)."""


def prepare(model: PreTrainedModel) -> Forward:
    """The way through this model."""
    return partial(_forward, model)


def _forward(model: PreTrainedModel, texts: TokenBatch) -> Tensor:
    return torch.cat([_group(model, texts.part(*group)) for group in groups(texts.lengths.tolist())])


def groups(lengths: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of texts of about one length, from start to stop (exclusive): filling them up adds a fifth at most."""
    start = 0
    for stop in range(1, len(lengths) + 1):
        if stop == len(lengths) or lengths[stop] > 1.2 * lengths[start]:
            yield start, stop
            start = stop


def padding(lengths: Sequence[int]) -> int:
    """How many places are computed beside the tokens of texts with these lengths, in rising order."""
    return sum(lengths[stop - 1] * (stop - start) - sum(lengths[start:stop]) for start, stop in groups(lengths))


def _group(model: PreTrainedModel, texts: TokenBatch) -> Tensor:
    lengths = torch.from_numpy(texts.lengths.astype(np.int64))
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, getattr(model.config, "pad_token_id", None) or 0)  # own code may know of none
    ids[mask] = torch.from_numpy(texts.ids.astype(np.int64))
    types = {}
    if texts.types is not None:
        padded_types = torch.zeros(mask.shape, dtype=torch.int64)
        padded_types[mask] = torch.from_numpy(texts.types.astype(np.int64))
        types["token_type_ids"] = padded_types.to(model.device)
    ids, mask = ids.to(model.device), mask.to(model.device)
    hidden: Tensor = model(input_ids=ids, attention_mask=mask.long(), **types).last_hidden_state
    return hidden[mask]
