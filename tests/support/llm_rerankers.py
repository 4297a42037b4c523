"""Tiny rerankers that are language models, with random weights, in the forms that CrossEncoder reads and saves."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from sentence_transformers import CrossEncoder
from sentence_transformers.base.modules import Dense, Transformer
from sentence_transformers.cross_encoder.modules import LogitScore
from sentence_transformers.sentence_transformer.modules import Pooling
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification

from support.chat_templates import QWEN, WORDS
from support.tiny_models import SIZES, Shape, a_tokenizer, spread

__all__ = [
    "DENSE",
    "Llm",
    "a_language_model",
    "a_reranker",
]

MAX_LENGTH = 224

DENSE = "dense"


@dataclass(frozen=True)
class Llm:
    """A reranker."""

    kind: str = "qwen3"
    template: str | None = QWEN
    tokens: tuple[str, str | None] | str = ("yes", "no")
    """Texts of LogitScore's tokens; DENSE: a pooling and a layer in place of LogitScore."""
    config: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    """Of CrossEncoder."""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    """Of the chat template."""


def a_language_model(directory: Path, llm: Llm, *, labels: int | None = None) -> Path:
    """Without modules.json. `labels`: with a classification head."""
    torch.manual_seed(3)
    tokenizer = a_tokenizer(Shape("llama", "<s>", None, "<|pad|>"))
    tokenizer.add_tokens(list(WORDS))
    tokenizer.model_max_length = MAX_LENGTH
    tokenizer.chat_template = llm.template
    tokenizer.save_pretrained(directory)
    ids = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("bos", "eos", "pad")}
    sizes = {**SIZES, "num_key_value_heads": 2, "head_dim": 8, "max_position_embeddings": MAX_LENGTH}
    config = AutoConfig.for_model(llm.kind, vocab_size=len(tokenizer), **{**sizes, **ids, **llm.config})
    if labels is not None:
        config.num_labels = labels
    of: Any = AutoModelForCausalLM if labels is None else AutoModelForSequenceClassification
    model = of.from_config(config)
    spread(model)
    model.save_pretrained(directory)
    return directory


def a_reranker(directory: Path, llm: Llm) -> Path:
    """As sentence-transformers saves it."""
    plain = str(a_language_model(directory / "plain", llm))
    processing: Any = {"chat_template": dict(llm.arguments)} if llm.arguments else None
    if llm.tokens == DENSE:
        body = Transformer(plain, processing_kwargs=processing)
        pooling = Pooling(body.get_embedding_dimension(), "lasttoken")
        layer = Dense(body.get_embedding_dimension(), 1, activation_function=None, module_output_name="scores")
        modules: list[Any] = [body, pooling, layer]
    else:
        body = Transformer(plain, transformer_task="text-generation", processing_kwargs=processing)
        ids = [None if token is None else body.tokenizer.convert_tokens_to_ids(token) for token in llm.tokens]
        modules = [body, LogitScore(*ids)]
    model = CrossEncoder(modules=modules, device="cpu", **llm.options)
    model.save_pretrained(str(directory / "model"), create_model_card=False)
    return directory / "model"
