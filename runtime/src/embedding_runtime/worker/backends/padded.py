"""Batches as a model's own code takes them: rows of equal length, filled up and masked."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.protocol.messages import TokenIds
from embedding_runtime.worker.backends.device import to_device

__all__ = ["Forward", "Width", "groups", "padding", "prepare"]

Forward = Callable[[Sequence[TokenIds]], Tensor]
"""Texts in rising order of length -> the hidden states of their tokens, end to end: shape (tokens, hidden)."""

Width = Callable[[Iterable[int]], int]
"""Lengths of the texts of a group -> tokens of a row, its padding counted; on a CPU it is the longest."""


def prepare(model: PreTrainedModel, width: Width = max) -> Forward:
    """The way through this model."""
    return partial(_forward, model, width)


def _forward(model: PreTrainedModel, width: Width, texts: Sequence[TokenIds]) -> Tensor:
    return torch.cat([_group(model, group, width(len(text) for text in group)) for group in groups(texts)])


def groups(texts: Sequence[TokenIds]) -> Iterator[Sequence[TokenIds]]:
    """Runs of texts of about one length: filling them up adds a fifth at most."""
    start = 0
    for stop in range(1, len(texts) + 1):
        if stop == len(texts) or len(texts[stop]) > 1.2 * len(texts[start]):
            yield texts[start:stop]
            start = stop


def padding(texts: Sequence[TokenIds], width: Width = max) -> int:
    """How many places are computed beside the tokens of these texts, which are in rising order of length."""
    widths = ((group, width(len(text) for text in group)) for group in groups(texts))
    return sum(wide - len(text) for group, wide in widths for text in group)


def _group(model: PreTrainedModel, texts: Sequence[TokenIds], width: int) -> Tensor:
    """`width`: tokens of a row, its padding counted."""
    lengths = np.array([len(text) for text in texts])
    mask = np.arange(width) < lengths[:, None]
    ids = np.full(mask.shape, getattr(model.config, "pad_token_id", None) or 0)  # own code may know of none
    ids[mask] = np.concatenate(texts)
    seen = to_device(mask.astype(np.int64), model.device)
    hidden: Tensor = model(input_ids=to_device(ids, model.device), attention_mask=seen).last_hidden_state
    return hidden[seen.bool()]
