"""Batches without padding: all texts stand end to end in one row, and attention alone keeps them apart.

Linear layers, norms and activations work token by token, so they need not know where a text ends. Attention does:
transformers lets one register a function for it, and this one runs transformers' own, text by text (texts of one
length together). The runs travel to it through the model's keyword arguments.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import AttentionInterface, PreTrainedModel
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface

from embedding_runtime.wire import TokenIds

__all__ = ["NotPackable", "Run", "forward", "prepare", "runs_of"]

_NAME = "embedding_runtime_packed"


class NotPackable(Exception):
    """The model's attention needs to know more than where a text begins and ends."""


class Run(NamedTuple):
    """Neighbours of one length: `texts` of them, in the row's tokens from `start` to `stop` (exclusive)."""

    start: int
    stop: int
    texts: int


def runs_of(lengths: Sequence[int]) -> Iterator[Run]:
    """The runs that cover texts of these lengths, in their order."""
    start = 0
    for length, neighbours in groupby(lengths):
        texts = len(list(neighbours))
        yield Run(start, start + length * texts, texts)
        start += length * texts


def prepare(model: PreTrainedModel) -> None:
    """Lets `forward` run this model; its usual forward no longer keeps texts apart. Raises NotPackable."""
    AttentionInterface.register(_NAME, _attention)
    AttentionMaskInterface.register(_NAME, lambda *_, **__: None)
    model.set_attn_implementation(_NAME)
    if model.config._attn_implementation != _NAME:  # noqa: SLF001 it only logs when it does not obey
        raise NotPackable("its attention cannot be replaced")


def forward(model: PreTrainedModel, texts: Sequence[TokenIds]) -> Tensor:
    """Texts in rising order of length -> (tokens, hidden), end to end."""
    lengths = [len(text) for text in texts]
    ids = torch.from_numpy(np.concatenate(texts)).long().to(model.device)
    padding = _padding(model)
    positions = torch.from_numpy(np.concatenate([_positions(text, padding) for text in texts])).to(model.device)
    runs = list(runs_of(lengths))
    hidden: Tensor = model(input_ids=ids[None], position_ids=positions[None], runs=runs).last_hidden_state
    return hidden[0]


def _padding(model: PreTrainedModel) -> int | None:
    """The padding's id, where positions are counted from it (RoBERTa and its kin); None where they begin at 0."""
    for module in model.modules():
        padding = getattr(module, "padding_idx", None)
        if isinstance(padding, int) and isinstance(getattr(module, "position_embeddings", None), nn.Embedding):
            return padding
    return None


def _positions(text: TokenIds, padding: int | None) -> npt.NDArray[np.int64]:
    """As the models themselves count; a text may well hold the padding's token."""
    if padding is None:
        return np.arange(len(text))
    real = (text != padding).astype(np.int64)
    positions: npt.NDArray[np.int64] = np.cumsum(real) * real + padding
    return positions


def _attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    runs: Sequence[Run],
    **kwargs: Any,
) -> tuple[Tensor, None]:
    """query, key, value: (1, heads, tokens, head size); key and value may have fewer heads.

    Returns query's shape with heads and tokens swapped, as transformers' functions do.
    """
    unknown = [name for name in ("sliding_window", "position_bias", "softcap") if kwargs.get(name) is not None]
    if attention_mask is not None or unknown:
        raise NotPackable(f"its attention uses {', '.join(unknown) or 'a mask of its own'}")
    _, heads, tokens, size = query.shape
    out = query.new_empty(1, tokens, heads, size)
    for run in runs:
        seen, _ = sdpa_attention_forward(
            module, _by_text(query, run), _by_text(key, run), _by_text(value, run), None, **kwargs
        )
        out[0, run.start : run.stop] = seen.reshape(-1, heads, size)
    return out, None


def _by_text(tensor: Tensor, run: Run) -> Tensor:
    """(1, heads, tokens, size) -> (texts, heads, tokens of one, size)."""
    _, heads, _, size = tensor.shape
    return tensor[0, :, run.start : run.stop].reshape(heads, run.texts, -1, size).transpose(0, 1)
