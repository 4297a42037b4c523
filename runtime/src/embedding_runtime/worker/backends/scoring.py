"""Cross-encoders in torch, split into the transformer, which runs like that of an embedding model, and the head.

Batches can therefore be packed or padded as for embedding models. The head gets one vector per pair.
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

__all__ = ["Head", "NoPooler", "PassThrough", "split"]


def split(
    model: PreTrainedModel, spec: ModelSpec, scores: Scores, probes: TokenBatch, *, types: bool
) -> tuple[PreTrainedModel, "Head"]:
    """Split a model into transformer and head. `types`: whether the tokenizer returns token types.

    Raises ModelRefused if both together do not return what the whole model returns for `probes`.
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
        except (AttributeError, RuntimeError, TypeError, ValueError):  # the head needs more than one hidden state
            same = False
    if not same:
        raise ModelRefused(
            f"{type(model).__name__} in {spec.directory} has a head that is not supported: it reads more than the "
            "first token (or the mean of all tokens, if config.json has classifier_pooling: mean); use "
            "sentence-transformers' CrossEncoder in the client, or serve a cross-encoder of the BERT family"
        )
    return transformer, head


_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.FLOAT16: 1e-2, Dtype.BFLOAT16: 5e-2}


class Head:
    """The head: selects the vector of each pair, applies the model's own head and the activation."""

    def __init__(self, model: PreTrainedModel, scores: Scores, spec: ModelSpec) -> None:
        """Replaces the transformer in `model`, which then computes only its head."""
        transformer: Any = model.base_model
        pooler = getattr(transformer, "pooler", None)  # in BERT a layer between the first token and the head
        if pooler is not None:
            transformer.pooler = NoPooler()
        setattr(model, model.base_model_prefix, PassThrough(pooler))
        self._model = model
        self._activation = activation(scores.activation, spec.directory)
        mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
        self._pooling = (Pooling.MEAN if mean else Pooling.CLS,)

    def __call__(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Hidden states of concatenated pairs (tokens, hidden) -> (pairs, labels)."""
        scores: Tensor = self._activation(self.logits(self.reads(hidden, lengths)))
        return scores

    def reads(self, hidden: Tensor, lengths: Sequence[int]) -> Tensor:
        """Hidden states of concatenated pairs (tokens, hidden) -> the head's inputs (pairs, hidden)."""
        return pool(hidden.float(), lengths, self._pooling)

    def logits(self, vectors: Tensor) -> Tensor:
        """(pairs, hidden) -> (pairs, labels), in float32."""
        logits: Tensor = self._model(inputs_embeds=vectors[:, None].to(self._model.dtype)).logits
        return logits.float()


class NoPooler(nn.Module):
    """Replaces a pooler, which the transformer does not need. Some classes call it without checking that it exists."""

    def forward(self, hidden: Tensor, *_: object, **__: object) -> Tensor:
        """Computes nothing."""
        return hidden


class PassThrough(nn.Module):
    """Replaces the transformer in a model, and returns its inputs."""

    def __init__(self, pooler: nn.Module | None = None) -> None:
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
