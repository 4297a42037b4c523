"""Cross-encoders in torch: the transformer runs by itself, as one that embeds does, and the model's own head after it.

So batches are packed or padded as every other's. The head gets one vector a pair: what it reads of the hidden states.
"""

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPooling

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelRefused, ModelSpec, Pooling, Scores
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import padded
from embedding_runtime.worker.backends.pooling import activation, pool

__all__ = ["Head", "split"]


def split(
    model: PreTrainedModel, spec: ModelSpec, scores: Scores, probes: TokenBatch, *, types: bool
) -> tuple[PreTrainedModel, "Head"]:
    """The transformer, which takes token types, and the head. `types`: whether the tokenizer gives types.

    Proven with `probes`: both together give what the whole model gives. Raises ModelRefused.
    """
    with torch.inference_mode():
        transformer: Any = model.base_model
        types = types and "token_type_ids" in inspect.signature(transformer.forward).parameters
        wanted = torch.cat([_whole(model, probe, types=types) for probe in probes.singles()])
        head = Head(model, scores, spec)
        if not types:
            transformer.register_forward_pre_hook(_without_types, with_kwargs=True)
        forward = padded.prepare(transformer)
        try:
            found = torch.cat([head.logits(head.reads(forward(probe), [probe.tokens])) for probe in probes.singles()])
            same = torch.allclose(found, wanted, rtol=_TOLERANCE[spec.dtype], atol=_TOLERANCE[spec.dtype])
        except (AttributeError, RuntimeError, TypeError, ValueError):  # it wants more of the transformer than one state
            same = False
    if not same:
        raise ModelRefused(
            f"{type(model).__name__} in {spec.directory} has a head that is not supported: it reads more than the "
            "first token (or the mean of all tokens, if config.json has classifier_pooling: mean)"
        )
    return transformer, head


_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.FLOAT16: 1e-2, Dtype.BFLOAT16: 5e-2}


class Head:
    """What is done to hidden states: the vector of each pair, the model's own head over it, the activation."""

    def __init__(self, model: PreTrainedModel, scores: Scores, spec: ModelSpec) -> None:
        """Takes the transformer's place in `model`."""
        transformer: Any = model.base_model
        pooler = getattr(transformer, "pooler", None)  # BERT's: a layer between the first token and the head
        if pooler is not None:
            transformer.pooler = None
        setattr(model, model.base_model_prefix, _Given(pooler))
        self._model = model
        self._activation = activation(scores.activation, spec.directory)
        mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._pooling = (Pooling.MEAN if mean else Pooling.CLS,)

    def __call__(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """(tokens, hidden), pairs end to end -> (pairs, labels)."""
        scores: Tensor = self._activation(self.logits(self.reads(hidden, lengths)))
        return scores

    def reads(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """(tokens, hidden), pairs end to end -> (pairs, hidden)."""
        return pool(hidden.float(), lengths, self._pooling)

    def logits(self, vectors: Tensor) -> Tensor:
        """(pairs, hidden) -> (pairs, labels), in float32."""
        logits: Tensor = self._model(inputs_embeds=vectors[:, None].to(self._model.dtype)).logits
        return logits.float()


class _Given(nn.Module):
    """Stands where the transformer was, and gives the one vector a pair that it is given."""

    def __init__(self, pooler: nn.Module | None) -> None:
        super().__init__()
        self.pooler = pooler

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> BaseModelOutputWithPooling:
        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        given: Any = {"last_hidden_state": inputs_embeds, "pooler_output": pooled}
        return BaseModelOutputWithPooling(**given)


def _without_types(
    _: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {name: value for name, value in given.items() if name != "token_type_ids"}


def _whole(model: PreTrainedModel, probe: TokenBatch, *, types: bool) -> Tensor:
    given = {"input_ids": torch.from_numpy(probe.ids.astype("i8"))[None].to(model.device)}
    if types and probe.types is not None:
        given["token_type_ids"] = torch.from_numpy(probe.types.astype("i8"))[None].to(model.device)
    logits: Tensor = model(**given).logits
    return logits.float()
