"""BERT and its kin in float32 on CPUs, written out: the same numbers in fewer, larger steps.

transformers' classes spend a third of a short text's time in Python between the operators. Here query, key and value
are one multiplication, and what follows a multiplication goes with it (`linear`). Figures: docs/performance.md.
Like every way through a model, this one is proven against transformers' own at start.

The architecture: Devlin et al., BERT (2019), whose layers are the encoder's of Vaswani et al., Attention Is All You
Need (2017). RoBERTa and XLM-RoBERTa differ only in where positions begin; MPNet has no token types, and adds to its
attention what depends on the distance of two tokens, which transformers' class knows only for padded batches.
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

__all__ = ["NAMES", "prepare", "written_out"]

_MODELS = (BertModel, CamembertModel, MPNetModel, RobertaModel, XLMRobertaModel)

NAMES = tuple(model.__name__.removesuffix("Model") for model in _MODELS)
"""Of the architectures, for messages."""


def written_out(model: Any) -> bool:
    """Whether `prepare` takes this model, which is in float32 on a CPU. Subclasses may have ways of their own."""
    return (
        type(model) in _MODELS
        and torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
        and not getattr(model.config, "is_decoder", False)
        and all(type(layer.intermediate.intermediate_act_fn) is GELUActivation for layer in model.encoder.layer)
    )


def prepare(model: PreTrainedModel, make: MakeLinear = Linear) -> Forward:
    """The way through this model, whose own forward stays as it is, with the layers of `make`."""
    return _Bert(model, make)


class _Bert:
    """Texts in rising order of length -> the hidden states of their tokens, end to end."""

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
        self._norm = _norm(tables.LayerNorm)
        self._padding = padding_of(model)
        projections = [_joined(_attention(layer)[:3], make) for layer in encoder.layer]
        use_for_linear_layers(model, make)  # not before: weights that are laid out cannot be joined
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
        """It depends on the distance alone: a text's is the corner of the longest's."""
        return None if self._bias is None else self._bias[..., : run.length, : run.length]


class _Block(NamedTuple):
    """Texts of one length, and what is added to their attention's scores: (1, heads, tokens of one, tokens of one)."""

    run: Run
    bias: Tensor | None


class _Attention(NamedTuple):
    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    merge: Any
    """Linear: nn's, or `linear`'s once they are in place."""
    norm: nn.LayerNorm


def _attention(layer: Any) -> _Attention:
    """Its parts, which have other names in MPNet."""
    own = layer.attention
    if isinstance(layer, MPNetLayer):
        return _Attention(own.attn.q, own.attn.k, own.attn.v, own.attn.o, own.LayerNorm)
    return _Attention(own.self.query, own.self.key, own.self.value, own.output.dense, own.output.LayerNorm)


def _joined(parts: Sequence[nn.Linear], make: MakeLinear) -> Any:
    return make(torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]), "none")


class _Layer:
    """Attention and feed-forward, each added to what came in and normed."""

    def __init__(self, project: LinearLayer, layer: Any, heads: int) -> None:
        """`project`: to queries, keys and values side by side. `layer` has `linear`'s layers."""
        attention = _attention(layer)
        self._heads = heads
        # Not nn.Module's call, which looks for hooks first: with all of a layer's, a twentieth of a short text's time.
        self._project: Callable[[Tensor], Tensor] = project.forward
        self._widen: Callable[[Tensor], Tensor] = layer.intermediate.dense.forward  # GELU included
        self._merge: LinearLayer = attention.merge
        self._narrow: LinearLayer = layer.output.dense
        self._norms = _norm(attention.norm), _norm(layer.output.LayerNorm)

    def __call__(self, hidden: Tensor, blocks: Sequence[_Block]) -> Tensor:
        projected = self._project(hidden)
        seen = [self._attend(projected, block) for block in blocks]
        hidden = self._norms[0](self._merge.plus(seen[0] if len(seen) == 1 else torch.cat(seen), hidden))
        return self._norms[1](self._narrow.plus(self._widen(hidden), hidden))

    def _attend(self, projected: Tensor, block: _Block) -> Tensor:
        """Of all tokens' queries, keys and values, (tokens, 3 x hidden) -> what those of a block see: (its, hidden)."""
        run, bias = block
        parts = projected[run.start : run.stop].view(run.texts, run.length, 3, self._heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)  # each: (texts, heads, tokens of one, size)
        seen = scaled_dot_product_attention(query, key, value, bias)
        return seen.transpose(1, 2).reshape(run.stop - run.start, -1)


def _norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    return partial(
        torch.layer_norm,
        normalized_shape=norm.normalized_shape,
        weight=norm.weight.detach(),
        bias=norm.bias.detach(),
        eps=norm.eps,
    )
