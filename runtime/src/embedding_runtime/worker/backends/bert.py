"""Fused implementation of the BERT family in float32 on CPUs, with the same results in fewer operators.

transformers' classes spend a third of a short text's time in Python between operators. Here query, key and value are
one product, and activations and residual additions are fused into products (`linear`): docs/performance.md. Like every
forward implementation, the self test compares it with transformers at startup.

Architecture: Devlin et al., BERT (2019), with the encoder layers of Vaswani et al., Attention Is All You Need (2017).
RoBERTa and XLM-RoBERTa differ only in the first position. MPNet has no token types, and adds a bias to attention that
depends on the distance of two tokens; transformers' class supports it for padded batches only.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding, scaled_dot_product_attention
from transformers import BertModel, CamembertModel, MPNetModel, PreTrainedModel, RobertaModel, XLMRobertaModel
from transformers.activations import GELUActivation
from transformers.models.mpnet.modeling_mpnet import MPNetLayer

from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.linear import Linear, use_for_linear_layers
from embedding_runtime.worker.backends.low_precision import LinearLayer, MakeLinear
from embedding_runtime.worker.backends.packed import padding_of, positions_of
from embedding_runtime.worker.backends.padded import Forward
from embedding_runtime.worker.backends.runs import Run, runs_of

__all__ = ["NAMES", "is_plain_encoder", "is_supported", "layer_norm", "prepare"]

_MODELS = (BertModel, CamembertModel, MPNetModel, RobertaModel, XLMRobertaModel)

NAMES = tuple(model.__name__.removesuffix("Model") for model in _MODELS)
"""Names of the supported architectures, for messages."""


def is_supported(model: Any) -> bool:
    """Whether `prepare` supports this model, which is in float32 on a CPU. Subclasses are not supported."""
    return (
        type(model) in _MODELS
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and is_plain_encoder(model)
    )


def is_plain_encoder(model: Any) -> bool:
    """Whether a model of the BERT family has no decoder's masks, and the exact GELU in each layer."""
    return not getattr(model.config, "is_decoder", False) and all(
        type(layer.intermediate.intermediate_act_fn) is GELUActivation for layer in model.encoder.layer
    )


def prepare(model: PreTrainedModel, make: MakeLinear = Linear) -> Forward:
    """Return a fused forward function with the linear layers of `make`. The model's own forward is not changed."""
    return _Bert(model, make)


class _Bert:
    """Texts in ascending order of length -> hidden states of their tokens, concatenated."""

    def __init__(self, model: Any, make: MakeLinear) -> None:
        tables, encoder = model.embeddings, model.encoder
        self._words, self._places = (
            table.weight.detach() for table in (tables.word_embeddings, tables.position_embeddings)
        )
        self._types, self._bias = None, None
        if isinstance(model, MPNetModel):
            self._bias = encoder.compute_position_bias(self._words.new_empty(1, len(self._places))).detach()
        else:
            self._types = tables.token_type_embeddings.weight.detach()
        self._norm = layer_norm(tables.LayerNorm)
        self._padding = padding_of(model)
        projections = [_joined(_attention(layer)[:3], make) for layer in encoder.layer]
        use_for_linear_layers(model, make)  # only now, because reordered weights cannot be joined
        self._layers = [
            _Layer(projection, layer, model.config.num_attention_heads)
            for projection, layer in zip(projections, encoder.layer, strict=True)
        ]

    def __call__(self, texts: TokenBatch) -> Tensor:
        hidden = embedding(
            torch.from_numpy(texts.ids.astype(np.int32, copy=not texts.ids.flags.writeable)), self._words
        )
        if self._types is not None:
            types = None if len(self._types) == 1 else texts.types
            hidden += (
                self._types[0] if types is None else embedding(torch.from_numpy(types.astype(np.int32)), self._types)
            )
        hidden += embedding(torch.from_numpy(positions_of(texts, self._padding)), self._places)
        hidden = self._norm(hidden)
        blocks = [_Block(run, self._bias_of(run)) for run in runs_of(texts.lengths.tolist())]
        for layer in self._layers:
            hidden = layer(hidden, blocks)
        return hidden

    def _bias_of(self, run: Run) -> Tensor | None:
        """The bias of a run: a corner of the longest, because it depends on the distance only."""
        return None if self._bias is None else self._bias[..., : run.length, : run.length]


class _Block(NamedTuple):
    """Texts of equal length, and their attention bias: (1, heads, length, length)."""

    run: Run
    bias: Tensor | None


class _Attention(NamedTuple):
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    merge: Any
    """A linear layer, of torch or of `linear`."""
    norm: nn.LayerNorm


def _attention(layer: Any) -> _Attention:
    """The modules of a layer's attention, which have other names in MPNet."""
    own = layer.attention
    if isinstance(layer, MPNetLayer):
        return _Attention(own.attn.q, own.attn.k, own.attn.v, own.attn.o, own.LayerNorm)
    return _Attention(own.self.query, own.self.key, own.self.value, own.output.dense, own.output.LayerNorm)


def _joined(parts: Sequence[nn.Linear], make: MakeLinear) -> Any:
    return make(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]), "none")


class _Layer:
    """Attention and feed-forward, each with residual addition and norm."""

    def __init__(self, project: LinearLayer, layer: Any, heads: int) -> None:
        """`project`: the joined layer of query, key and value. `layer` has the layers of `linear`."""
        attention = _attention(layer)
        self._heads = heads
        # Methods instead of calls of nn.Module, which look for hooks first: 5% of a short text's time.
        self._project: Callable[[Tensor], Tensor] = project.forward
        self._widen: Callable[[Tensor], Tensor] = layer.intermediate.dense.forward  # including GELU
        self._merge: LinearLayer = attention.merge
        self._narrow: LinearLayer = layer.output.dense
        self._norms = layer_norm(attention.norm), layer_norm(layer.output.LayerNorm)

    def __call__(self, hidden: Tensor, blocks: Sequence[_Block]) -> Tensor:
        projected = self._project(hidden)
        seen = [self._attend(projected, block) for block in blocks]
        hidden = self._norms[0](self._merge.plus(seen[0] if len(seen) == 1 else torch.cat(seen), hidden))
        return self._norms[1](self._narrow.plus(self._widen(hidden), hidden))

    def _attend(self, projected: Tensor, block: _Block) -> Tensor:
        """Attention of a block: projections of all tokens (tokens, 3 x hidden) -> (tokens of the block, hidden)."""
        run, bias = block
        parts = projected[run.start : run.stop].view(run.texts, run.length, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each: (texts, heads, length, size)
        seen = scaled_dot_product_attention(query, key, value, bias)
        return seen.transpose(1, 2).reshape(run.stop - run.start, -1)


def layer_norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    """Avoids the call of nn.Module, which looks for hooks first."""
    return partial(
        torch.layer_norm,
        normalized_shape=norm.normalized_shape,
        weight=norm.weight.detach(),
        bias=norm.bias.detach(),
        eps=norm.eps,
    )
