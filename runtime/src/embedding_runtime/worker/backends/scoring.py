"""Cross-encoders in torch, split into the transformer, which runs like that of an embedding model, and the head.

Batches can therefore be packed or padded as for embedding models. The head gets one vector per pair.
"""

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import AutoTokenizer, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutputWithPoolingAndCrossAttentions

from embedding_runtime.contract import Dtype
from embedding_runtime.model import ModelRefused, ModelSpec, Pooling, Scores, ScoreTokens
from embedding_runtime.protocol.token_batch import TokenBatch
from embedding_runtime.worker.backends import padded
from embedding_runtime.worker.backends.device import to_device
from embedding_runtime.worker.backends.pooling import activation, pool, steps_of

__all__ = ["Head", "Layer", "NoPooler", "PassThrough", "split", "token_ids", "use_types"]

Reads = Callable[[Tensor, TokenBatch], Tensor]
"""Hidden states of concatenated pairs (tokens, hidden) -> the head's inputs (pairs, hidden)."""


def split(
    model: PreTrainedModel, spec: ModelSpec, scores: Scores, probes: TokenBatch, *, types: bool
) -> tuple[PreTrainedModel, "Head"]:
    """Split a model into transformer and head. `types`: whether the tokenizer returns token types.

    Raises ModelRefused if both together do not return what the whole model returns for `probes`.
    """
    with torch.inference_mode():
        transformer: Any = model.base_model
        types = use_types(transformer, types=types)
        head = Head(model, scores, spec)
        wanted = torch.cat([head.select(_whole(model, probe, types=types)) for probe in probes.singles()])
        head.replace_transformer()
        forward = padded.prepare(transformer)
        for head.reads in _ways_to_read(model, scores):
            try:
                found = torch.cat([head.logits(head.reads(forward(probe), probe)) for probe in probes.singles()])
                if torch.allclose(found, wanted, rtol=_TOLERANCE[spec.dtype], atol=_TOLERANCE[spec.dtype]):
                    return transformer, head
            except (AttributeError, RuntimeError, TypeError, ValueError):  # the head needs more than one hidden state
                continue
    raise ModelRefused(
        f"{type(model).__name__} in {spec.directory} has a head that is not supported: it reads more than the "
        "first or the last token (or the mean of all tokens, if config.json has classifier_pooling: mean); use "
        "sentence-transformers' CrossEncoder in the client, or serve a cross-encoder of the BERT family"
    )


_TOLERANCE = {Dtype.FLOAT32: 1e-4, Dtype.FLOAT16: 1e-2, Dtype.BFLOAT16: 5e-2}


def use_types(transformer: Any, *, types: bool) -> bool:
    """Let the transformer ignore token types, unless the tokenizer returns `types`. Returns whether they are used."""
    if types and "token_type_ids" in inspect.signature(transformer.forward).parameters:
        return True
    transformer.register_forward_pre_hook(_without_types, with_kwargs=True)
    return False


def _ways_to_read(model: PreTrainedModel, scores: Scores) -> Iterator[Reads]:
    """What heads read in transformers. A language model's scores are the logits of the last token."""
    if scores.tokens is not None:
        yield partial(_last_token, None)
        return
    mean = getattr(model.config, "classifier_pooling", "cls") == "mean"
    yield partial(_pooled, (Pooling.MEAN if mean else Pooling.CLS,))
    yield partial(_last_token, model.config.get_text_config().pad_token_id)  # decoders


def _pooled(modes: Sequence[Pooling], hidden: Tensor, texts: TokenBatch) -> Tensor:
    return pool(hidden.float(), texts.lengths.tolist(), modes)


def _last_token(padding: int | None, hidden: Tensor, texts: TokenBatch) -> Tensor:
    """The last token of each text that is not the padding token, or the first token of a text without another one."""
    stop = np.cumsum(texts.lengths, dtype=np.int64)
    last = stop - 1
    if padding is not None:
        start = stop - texts.lengths
        places = np.where(texts.ids == padding, -1, np.arange(texts.tokens))
        last = np.maximum(np.maximum.reduceat(places, start), start)
    return hidden[to_device(last, hidden.device)].float()


class Head:
    """The head: selects the vector of each pair, applies the model's own head and the activation."""

    reads: Reads

    def __init__(self, model: PreTrainedModel, scores: Scores, spec: ModelSpec) -> None:
        self._model = model
        self._activation = activation(scores.activation, spec.directory)
        self._tokens = None if scores.tokens is None else token_ids(scores.tokens, spec)

    def replace_transformer(self) -> None:
        """Replace the transformer in the model, which then computes only its head."""
        transformer: Any = self._model.base_model
        pooler = getattr(transformer, "pooler", None)  # in BERT a layer between the first token and the head
        if pooler is not None:
            transformer.pooler = NoPooler()
        setattr(self._model, self._model.base_model_prefix, PassThrough(pooler))

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> Tensor:
        """Hidden states of concatenated pairs (tokens, hidden) -> (pairs, labels)."""
        scores: Tensor = self._activation(self.logits(self.reads(hidden, texts)))
        return scores

    def logits(self, vectors: Tensor) -> Tensor:
        """(pairs, hidden) -> (pairs, labels), in float32."""
        return self.select(self._model(inputs_embeds=vectors[:, None].to(self._model.dtype)).logits)

    def select(self, logits: Tensor) -> Tensor:
        """The model's logits -> (pairs, labels), in float32. As LogitScore, it subtracts in the model's type."""
        if self._tokens is None:
            return logits.float()
        true, false = self._tokens
        last = logits[:, -1]
        scores = last[:, true] if false is None else last[:, true] - last[:, false]
        return scores[:, None].float()


class Layer:
    """A pooling and a layer that computes the scores, instead of a head of the model."""

    def __init__(self, spec: ModelSpec, scores: Scores, device: torch.device) -> None:
        """Raises ModelRefused."""
        self.reads = partial(_pooled, spec.pooling)
        self._steps = steps_of(spec, device)
        self._activation = activation(scores.activation, spec.directory)

    def __call__(self, hidden: Tensor, texts: TokenBatch) -> Tensor:
        """Hidden states of concatenated pairs (tokens, hidden) -> (pairs, labels)."""
        scores: Tensor = self._activation(self.logits(self.reads(hidden, texts)))
        return scores

    def logits(self, vectors: Tensor) -> Tensor:
        """(pairs, hidden) -> (pairs, labels), in float32."""
        for step in self._steps:
            vectors = step(vectors)
        return vectors


def token_ids(tokens: ScoreTokens, spec: ModelSpec) -> tuple[int, int | None]:
    """The ids of the tokens. Raises ModelRefused for a text that is no token."""
    if isinstance(tokens.true, int) and not isinstance(tokens.false, str):
        return tokens.true, tokens.false
    tokenizer: Any = AutoTokenizer.from_pretrained(
        spec.directory, local_files_only=True, trust_remote_code=spec.remote_code
    )
    true, false = (tokenizer.convert_tokens_to_ids(text) for text in (tokens.true, tokens.false))
    if {None, tokenizer.unk_token_id} & {true, false}:
        raise ModelRefused(
            f"the tokenizer in {spec.directory} lacks the token {tokens.true} or {tokens.false}, which CrossEncoder "
            "reads without modules.json: use a copy that is saved for CrossEncoder, with LogitScore"
        )
    return true, false


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

    def forward(self, *_: object, inputs_embeds: Tensor, **__: object) -> BaseModelOutputWithPoolingAndCrossAttentions:
        pooled = None if self.pooler is None else self.pooler(inputs_embeds)
        given: Any = {"last_hidden_state": inputs_embeds, "pooler_output": pooled}
        return BaseModelOutputWithPoolingAndCrossAttentions(**given)


def _without_types(
    _: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {name: value for name, value in given.items() if name != "token_type_ids"}


def _whole(model: PreTrainedModel, probe: TokenBatch, *, types: bool) -> Tensor:
    given = {"input_ids": torch.from_numpy(probe.ids.astype("i8"))[None].to(model.device)}
    if types and probe.types is not None:
        given["token_type_ids"] = torch.from_numpy(probe.types.astype("i8"))[None].to(model.device)
    few = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
    logits: Tensor = model(**given, **few).logits
    return logits
