"""Fused implementation of the BERT family on GPUs, with the same results from fewer kernel launches.

Launches limit a small model, not arithmetic: transformers' classes need 6 ms of CPU time to launch a MiniLM batch that
a GPU computes in 2 ms (docs/performance.md). Like every forward implementation, the self test compares it with
transformers at startup. Architecture: see `bert`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, gelu, linear
from transformers import BertModel, CamembertModel, PreTrainedModel, RobertaModel, XLMRobertaModel

from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import packed
from embedding_runtime.worker.backends.bert import is_plain_encoder, layer_norm
from embedding_runtime.worker.backends.device import to_device, together_to_device
from embedding_runtime.worker.backends.padded import Forward

__all__ = ["is_supported", "prepare"]

_MODELS = (BertModel, CamembertModel, RobertaModel, XLMRobertaModel)


def is_supported(model: Any) -> bool:
    """Whether `prepare` supports this model, which is on a GPU. Subclasses are not supported."""
    return type(model) in _MODELS and is_plain_encoder(model)


def prepare(model: PreTrainedModel) -> Forward:
    """Return a fused forward function. The model's own forward is not changed."""
    return _Bert(model)


class _Bert:
    """Texts in any order -> hidden states of their tokens, concatenated."""

    def __init__(self, model: Any) -> None:
        tables = model.embeddings
        self._words, self._types, self._places = (
            table.weight.detach()
            for table in (tables.word_embeddings, tables.token_type_embeddings, tables.position_embeddings)
        )
        self._norm = layer_norm(tables.LayerNorm)
        self._padding = packed.padding_of(model)
        self._layers = [_Layer(layer, model.config.num_attention_heads) for layer in model.encoder.layer]

    def __call__(self, texts: TokenBatch) -> Tensor:
        device = self._words.device
        positions = packed.positions_of(texts, self._padding)
        ids, places, ends = together_to_device([texts.ids, positions, np.cumsum([0, *texts.lengths.tolist()])], device)
        hidden = embedding(ids, self._words)
        if texts.types is None or len(self._types) == 1:
            hidden += self._types[0]
        else:
            hidden += embedding(to_device(texts.types.astype(np.int32), device), self._types)
        hidden += embedding(places, self._places)
        hidden = self._norm(hidden)
        layout = packed.Layout(texts.lengths.tolist(), device, ends)
        for layer in self._layers:
            hidden = layer(hidden, layout)
        return hidden


class _Layer:
    """Attention and feed-forward, each with residual addition and norm."""

    def __init__(self, layer: Any, heads: int) -> None:
        own = layer.attention.self
        parts = own.query, own.key, own.value
        self._weight = torch.cat([part.weight for part in parts]).detach()
        self._bias = torch.cat([part.bias for part in parts]).detach()
        """Joined weights and biases of queries, keys and values, copied from the model."""
        self._heads = heads
        self._merge, self._widen, self._narrow = map(
            _linear, (layer.attention.output.dense, layer.intermediate.dense, layer.output.dense)
        )
        self._norms = layer_norm(layer.attention.output.LayerNorm), layer_norm(layer.output.LayerNorm)

    def __call__(self, hidden: Tensor, layout: packed.Layout) -> Tensor:
        tokens, size = hidden.shape
        projected = linear(hidden, self._weight, self._bias).view(tokens, 3, self._heads, size // self._heads)
        query, key, value = projected.unbind(1)
        seen = packed.attend_at_once(query, key, value, layout).view(tokens, size)
        hidden = self._norms[0](self._merge(seen).add_(hidden))
        return self._norms[1](self._narrow(gelu(self._widen(hidden))).add_(hidden))


def _linear(layer: nn.Linear) -> Callable[[Tensor], Tensor]:
    """Avoids the call of nn.Module, which looks for hooks first."""
    return partial(linear, weight=layer.weight.detach(), bias=layer.bias.detach())
