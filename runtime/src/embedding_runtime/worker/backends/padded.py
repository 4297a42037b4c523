"""Batches as a model's own code takes them: rows of equal length, filled up and masked."""

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.protocol.messages import TokenIds

__all__ = ["Forward", "groups", "padding", "prepare"]

Forward = Callable[[Sequence[TokenIds]], Tensor]
"""Texts in rising order of length -> the hidden states of their tokens, end to end: shape (tokens, hidden)."""


def prepare(model: PreTrainedModel) -> Forward:
    """The way through this model."""
    return partial(_forward, model)


def _forward(model: PreTrainedModel, texts: Sequence[TokenIds]) -> Tensor:
    return torch.cat([_group(model, group) for group in groups(texts)])


def groups(texts: Sequence[TokenIds]) -> Iterator[Sequence[TokenIds]]:
    """Runs of texts of about one length: filling them up adds a fifth at most."""
    start = 0
    for stop in range(1, len(texts) + 1):
        if stop == len(texts) or len(texts[stop]) > 1.2 * len(texts[start]):
            yield texts[start:stop]
            start = stop


def padding(texts: Sequence[TokenIds]) -> int:
    """How many places are computed beside the tokens of these texts, which are in rising order of length."""
    return sum(len(group[-1]) - len(text) for group in groups(texts) for text in group)


def _group(model: PreTrainedModel, texts: Sequence[TokenIds]) -> Tensor:
    lengths = torch.tensor([len(text) for text in texts])
    mask = torch.arange(int(lengths.max())) < lengths[:, None]
    ids = torch.full(mask.shape, getattr(model.config, "pad_token_id", None) or 0)  # own code may know of none
    ids[mask] = torch.cat([torch.from_numpy(text).long() for text in texts])
    ids, mask = ids.to(model.device), mask.to(model.device)
    hidden: Tensor = model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return hidden[mask]
