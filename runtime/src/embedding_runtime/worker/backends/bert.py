"""Fused implementation of the BERT family in float32 on CPUs, with the same results in fewer operators.

transformers' classes spend a third of a short text's time in Python between operators. Here query, key and value are
one product, activations and residual additions are fused into products (`linear`), and attention has its own kernel
(`attention`): docs/performance.md. Like every forward implementation, the self test compares it with transformers at
startup.

Architecture: Devlin et al., BERT (2019), with the encoder layers of Vaswani et al., Attention Is All You Need (2017).
RoBERTa and XLM-RoBERTa differ only in the first position. MPNet has no token types, and adds a bias to attention that
depends on the distance of two tokens; transformers' class supports it for padded batches only.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn.functional import embedding
from transformers import BertModel, CamembertModel, MPNetModel, PreTrainedModel, RobertaModel, XLMRobertaModel
from transformers.activations import GELUActivation
from transformers.models.mpnet.modeling_mpnet import MPNetLayer

from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends.attention import LONGEST, Attend, Block, by_torch, kernel_for
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
        self._layers = [_Layer(*parts) for parts in zip(projections, encoder.layer, strict=True)]
        self._heads = model.config.num_attention_heads
        self._kernel = kernel_for(model.config.hidden_size // self._heads) if self._bias is None else None

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
        attend = self._attention(texts.lengths)
        for layer in self._layers:
            hidden = layer(hidden, attend)
        return hidden

    def _attention(self, lengths: npt.NDArray[np.integer[Any]]) -> Attend:
        if self._kernel is not None and lengths.max(initial=0) <= LONGEST:
            bounds = np.zeros(len(lengths) + 1, dtype=np.int32)
            np.cumsum(lengths, out=bounds[1:])
            return partial(self._kernel, bounds=bounds, heads=self._heads)
        blocks = [Block(run, self._bias_of(run)) for run in runs_of(lengths.tolist())]
        return partial(by_torch, blocks=blocks, heads=self._heads)

    def _bias_of(self, run: Run) -> Tensor | None:
        """The bias of a run: a corner of the longest, because it depends on the distance only."""
        return None if self._bias is None else self._bias[..., : run.length, : run.length]


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

    def __init__(self, project: LinearLayer, layer: Any) -> None:
        """`project`: the joined layer of query, key and value. `layer` has the layers of `linear`."""
        attention = _attention(layer)
        # Methods instead of calls of nn.Module, which look for hooks first: 5% of a short text's time.
        self._project: Callable[[Tensor], Tensor] = project.forward
        self._widen: Callable[[Tensor], Tensor] = layer.intermediate.dense.forward  # including GELU
        self._merge: LinearLayer = attention.merge
        self._narrow: LinearLayer = layer.output.dense
        self._norms = layer_norm(attention.norm), layer_norm(layer.output.LayerNorm)

    def __call__(self, hidden: Tensor, attend: Attend) -> Tensor:
        hidden = self._norms[0](self._merge.plus(attend(self._project(hidden)), hidden))
        return self._norms[1](self._narrow.plus(self._widen(hidden), hidden))


def layer_norm(norm: nn.LayerNorm) -> Callable[[Tensor], Tensor]:
    """Avoids the call of nn.Module, which looks for hooks first."""
    return partial(
        torch.layer_norm,
        normalized_shape=norm.normalized_shape,
        weight=norm.weight.detach(),
        bias=norm.bias.detach(),
        eps=norm.eps,
    )
