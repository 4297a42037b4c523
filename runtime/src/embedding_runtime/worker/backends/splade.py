"""Sparse encoders in torch: SPLADE's pooling over the logits of a masked language model.

The model is split into the transformer, which runs like that of an embedding model, and the head. The logits of a token
have the size of the vocabulary, so they are computed for few tokens at a time, and only numbers above zero are kept.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedModel

from embedding_runtime.contract import Dtype
from embedding_runtime.model import Activation, ModelRefused, ModelSpec, Pooling, Splade, Strategy
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import padded
from embedding_runtime.worker.backends.pooling import pool
from embedding_runtime.worker.backends.ragged import RaggedTensors
from embedding_runtime.worker.backends.scoring import PassThrough

__all__ = ["Head", "mean_of_tokens", "split"]

CHUNK = 256
"""Tokens whose logits are in memory at once: 30 MB with BERT's vocabulary, 250 MB with XLM-RoBERTa's."""


def split(
    model: PreTrainedModel, spec: ModelSpec, splade: Splade, probes: TokenBatch
) -> tuple[PreTrainedModel, "Head"]:
    """Split a model into transformer and head.

    Raises ModelRefused if both together do not return the logits of the whole model for `probes`.
    """
    with torch.inference_mode():
        transformer: Any = model.base_model
        wanted = [_whole(model, probe) for probe in probes.singles()]
        head = Head(model, splade)
        forward = padded.prepare(transformer)
        try:
            found = [head.logits(forward(probe)) for probe in probes.singles()]
            same = all(map(_same(spec.dtype), found, wanted))
        except (AttributeError, RuntimeError, TypeError, ValueError):  # the head needs more than hidden states
            same = False
    if not same:
        raise ModelRefused(
            f"{type(model).__name__} in {spec.directory} has a language model head that is not supported: its logits "
            "depend on more than the token's hidden state"
        )
    return transformer, head


_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.FLOAT16: 1e-2, Dtype.BFLOAT16: 5e-2}


def _same(dtype: Dtype) -> Any:
    return lambda one, other: torch.allclose(one, other, rtol=_TOLERANCE[dtype], atol=_TOLERANCE[dtype])


def _whole(model: PreTrainedModel, probe: TokenBatch) -> Tensor:
    logits: Tensor = model(input_ids=torch.from_numpy(probe.ids.astype("i8"))[None].to(model.device)).logits
    return logits[0].float()


def mean_of_tokens(hidden: Tensor, texts: TokenBatch) -> Tensor:
    """A dense row for the self test: the forward functions that it compares differ before the head only."""
    return pool(hidden.float(), texts.lengths.tolist(), (Pooling.MEAN,))


class Head:
    """The language model head, SpladePooling, and the selection of the largest values."""

    def __init__(self, model: PreTrainedModel, splade: Splade) -> None:
        """Replaces the transformer in `model`, which then computes only its head."""
        setattr(model, model.base_model_prefix, PassThrough())
        self._model, self._splade = model, splade

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> RaggedTensors:
        """Hidden states of concatenated texts (tokens, hidden) -> sparse vectors."""
        values, indices, counts, start = [], [], [], 0
        for group in _groups(texts.lengths.tolist()):
            stop = start + sum(group)
            rows = self._largest(self._pooled(hidden[start:stop], group))
            numbers, places = rows.nonzero(as_tuple=True)
            values.append(rows[numbers, places])
            indices.append(places.int())
            counts += torch.bincount(numbers, minlength=len(group)).tolist()
            start = stop
        return RaggedTensors(torch.cat(values)[:, None], counts, torch.cat(indices))

    def logits(self, hidden: Tensor) -> Tensor:
        """(tokens, hidden) -> (tokens, vocabulary), in float32."""
        logits: Tensor = self._model(inputs_embeds=hidden[None].to(self._model.dtype)).logits
        return logits[0].float()

    def _pooled(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """(tokens, hidden) -> (texts, vocabulary). More than CHUNK tokens are of one text."""
        if len(lengths) == 1:
            parts = torch.stack([self._reduced(self.logits(few)) for few in torch.split(hidden, CHUNK)])
            rows = (parts.amax(0) if self._is_max else parts.sum(0))[None]
        else:
            rows = torch.stack([self._reduced(text) for text in torch.split(self.logits(hidden), list(lengths))])
        return self._activated(rows) if self._is_max else rows

    def _reduced(self, logits: Tensor) -> Tensor:
        """(tokens, vocabulary) -> (vocabulary,). The activation is monotonic: that of the largest logit is enough."""
        return logits.amax(0) if self._is_max else self._activated(logits).sum(0)

    @property
    def _is_max(self) -> bool:
        return self._splade.strategy is Strategy.MAX

    def _activated(self, logits: Tensor) -> Tensor:
        once = logits.relu().log1p()
        return once.log1p() if self._splade.activation is Activation.LOG1P_RELU else once

    def _largest(self, rows: Tensor) -> Tensor:
        most = self._splade.most
        if most is None or most >= rows.shape[1]:
            return rows
        kept = rows.topk(most, dim=1)
        return torch.zeros_like(rows).scatter_(1, kept.indices, kept.values)


def _groups(lengths: Sequence[int]) -> Iterator[Sequence[int]]:
    """Lengths of neighbours with at most CHUNK tokens together, or of one longer text."""
    group: list[int] = []
    for length in lengths:
        if group and sum(group) + length > CHUNK:
            yield group
            group = []
        group.append(length)
    yield group
