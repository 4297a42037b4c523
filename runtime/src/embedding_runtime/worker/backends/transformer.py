"""Loads a model with transformers, and the head that sentence-transformers adds to it."""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForCausalLM,
    AutoModelForMaskedLM,
    AutoModelForSequenceClassification,
    MT5EncoderModel,
    PreTrainedModel,
    T5EncoderModel,
    UMT5EncoderModel,
)

from embedding_runtime.model import ModelRefused, ModelSpec, remote_code
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds
from embedding_runtime.worker.backends import own_module, scoring, splade, tokenizer_check
from embedding_runtime.worker.backends.pooling import Head
from embedding_runtime.worker.backends.probes import as_pairs, probe_texts
from embedding_runtime.worker.backends.ragged import RaggedTensors
from embedding_runtime.worker.backends.refusals import refused

__all__ = ["ApplyHead", "Loaded", "load"]

ApplyHead = Callable[[Tensor, TokenBatch], Tensor | RaggedTensors]
"""Hidden states of concatenated texts, and the texts -> one row per text."""


@dataclass(frozen=True)
class Loaded:
    """A loaded model."""

    model: PreTrainedModel
    head: ApplyHead
    tested_head: ApplyHead
    """The part of the head that the self test includes; its rows are dense."""
    probes: TokenBatch
    """The texts of the self test."""


def load(spec: ModelSpec, *, thorough: bool = False) -> Loaded:
    """Load a model. `thorough`: with more probes, for comparison with another library. Raises ModelRefused."""
    model: Any  # of transformers or of the model's own code
    if spec.splade is not None:
        tokenizer_check.check(spec)
        whole = _weights(spec)
        probes = probe_texts(spec, whole, 0, thorough=thorough)
        model, sparse = splade.split(whole, spec, spec.splade, probes)
        return Loaded(model, sparse, splade.mean_of_tokens, probes)
    if spec.scores is None:
        prompt_tokens, types = tokenizer_check.check(spec)
        own = None if spec.custom_module is None else own_module.load(spec)
        model = _weights(spec) if own is None else own.model
        head = Head(spec, model.device, prompt_tokens=prompt_tokens)
        if own is not None:
            own.check(head)
        probes = probe_texts(spec, model, prompt_tokens, thorough=thorough)
        if types:
            _give_types(model, next(iter(probes)))
        return Loaded(model, head, head, probes)
    types = tokenizer_check.check_pairs(spec)
    whole = _weights(spec)
    pairs = as_pairs(probe_texts(spec, whole, 0, thorough=thorough))
    if spec.pooling:
        scoring.use_types(whole, types=types)
        layer = scoring.Layer(spec, spec.scores, whole.device)
        return Loaded(whole, layer, layer.reads, pairs)
    model, scores = scoring.split(whole, spec, spec.scores, pairs, types=types)
    return Loaded(model, scores, scores.reads, pairs)  # an activation may saturate to 1 for every pair


_ENCODERS: Mapping[str, Any] = {"t5": T5EncoderModel, "mt5": MT5EncoderModel, "umt5": UMT5EncoderModel}
"""Encoder classes by model type, for models whose decoder sentence-transformers does not use."""


def _weights(spec: ModelSpec) -> PreTrainedModel:
    with refused(spec, f"transformers cannot load {spec.directory / 'config.json'}"):
        config = AutoConfig.from_pretrained(spec.directory, local_files_only=True, trust_remote_code=spec.remote_code)
    config.use_cache = False  # nothing is generated
    with refused(spec, f"transformers cannot load {spec.directory}"):
        model, loading = _class(spec, config.model_type).from_pretrained(
            spec.directory,
            config=config,
            dtype=getattr(torch, spec.dtype),
            local_files_only=True,
            trust_remote_code=spec.remote_code,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # they are refused below, where they are named
        )
    if wrong := sorted(loading["mismatched_keys"]):
        name, found, expected = wrong[0]
        raise ModelRefused(
            f"the weights in {spec.directory} do not match its config.json: {name} has the shape {list(found)}, but "
            f"should have {list(expected)} ({len(wrong)} weights in all): use the config.json that was saved with them"
        )
    # transformers initializes missing weights randomly. Its pooler is not used for vectors.
    missing = sorted(name for name in loading["missing_keys"] if not name.startswith("pooler."))
    if missing and not spec.remote_code and remote_code.has_code(spec.root):
        path, kind = spec.directory / "config.json", config.model_type
        raise remote_code.needed(
            spec.root,
            f"{path} has auto_map, and transformers' own class for type {kind!r} does not fit the weights (it lacks "
            f"{missing[0]}, {len(missing)} in all): the model",
        )
    if missing:
        raise ModelRefused(
            f"the weights in {spec.directory} lack {', '.join(missing[:_MAX_LISTED])} ({len(missing)} in all): "
            "use a complete copy of the model"
        )
    has_head = spec.scores is not None and not spec.pooling
    if not has_head and hasattr(model, "pooler") and not spec.remote_code:  # which may not ask whether it is there
        model.pooler = scoring.NoPooler()
    on_device: PreTrainedModel = model.eval().to("cuda" if torch.cuda.is_available() else "cpu")
    return on_device


def _class(spec: ModelSpec, model_type: str) -> Any:
    """The class of transformers that loads the weights."""
    if spec.splade is not None:
        return AutoModelForMaskedLM
    if spec.scores is None or spec.pooling:
        return _ENCODERS.get(model_type, AutoModel)
    return AutoModelForSequenceClassification if spec.scores.tokens is None else AutoModelForCausalLM


_MAX_LISTED = 10
"""Missing weights that a message lists."""


def _give_types(model: PreTrainedModel, probe: TokenIds) -> None:
    """Pass token types of zero, as the tokenizer does, if the model treats them differently from none.

    GPT-2 and GPT-J then add the embedding of token 0; BERT treats missing types as zeros.
    """
    if "token_type_ids" not in inspect.signature(model.forward).parameters:
        return
    ids = torch.from_numpy(probe).long()[None].to(model.device)
    with torch.inference_mode():
        without = model(input_ids=ids).last_hidden_state
        zeros = model(input_ids=ids, token_type_ids=torch.zeros_like(ids)).last_hidden_state
    if not torch.equal(without, zeros):
        model.register_forward_pre_hook(_with_zeros, with_kwargs=True)


def _with_zeros(
    _: nn.Module, args: tuple[Any, ...], given: Mapping[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    return args, {**given, "token_type_ids": torch.zeros_like(given["input_ids"])}
