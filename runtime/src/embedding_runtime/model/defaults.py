"""Reads config_sentence_transformers.json: defaults that apply unless a request overrides them."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from embedding_runtime.contract import Kind
from embedding_runtime.model.files import ModelRefused, object_or_nothing, typed
from embedding_runtime.model.other_kinds import why_not

__all__ = ["Defaults"]


@dataclass(frozen=True)
class Defaults:
    """The defaults, with those of sentence-transformers for missing values."""

    kind: Kind
    prompt: str
    """Put before every text, or before the first text of a pair; empty for most models."""
    prompts: Mapping[str, str]
    """Other prompts by name."""
    keep: int | None
    """Number of first dimensions to keep (matryoshka); None: all."""
    similarity: str
    """Similarity of two vectors: cosine, dot, euclidean or manhattan."""
    activation: str | None
    """Activation of a cross-encoder's logits, as the full name of a class."""
    max_active_dims: int | None
    """Number of the largest values that a sparse encoder keeps; None: all."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ModelRefused."""
        path = directory / "config_sentence_transformers.json"
        config = object_or_nothing(path)
        kind = typed(path, config, "model_type", "SentenceTransformer")
        if kind not in _KINDS:
            raise ModelRefused(
                f"{path} has model_type {kind}, but only {', '.join(_KINDS)} are supported: {why_not(str(kind))}"
            )
        if config.get("keep_in_fp32_modules"):
            raise ModelRefused(
                f"{path} sets keep_in_fp32_modules, which is not supported: remove it, and set --dtype=float32 for the "
                "same or better precision"
            )
        prompts, name = config.get("prompts") or {}, config.get("default_prompt_name")
        if not isinstance(prompts, dict) or not all(isinstance(text, str | None) for text in prompts.values()):
            raise ModelRefused(f"{path} has prompts {prompts!r}, which must be an object of texts")
        if name is not None and name not in list(prompts):  # by equality, since it may be a list
            raise ModelRefused(f"{path} has default_prompt_name {name!r}, which is not in its prompts")
        keep, most = _positive(path, config, "truncate_dim"), _positive(path, config, "max_active_dims")
        return cls(
            kind=_KINDS[kind],
            prompt="" if name is None else prompts[name] or "",
            prompts={each: text or "" for each, text in prompts.items()},
            keep=keep,
            similarity=typed(path, config, "similarity_fn_name", "") or _SIMILARITIES.get(kind, "cosine"),
            activation=typed(path, config, "activation_fn", "") or None,
            max_active_dims=most,
        )


_KINDS = {
    "SentenceTransformer": Kind.EMBEDDING_MODEL,
    "CrossEncoder": Kind.CROSS_ENCODER,
    "SparseEncoder": Kind.SPARSE_ENCODER,
}

_SIMILARITIES = {"SparseEncoder": "dot"}
"""Defaults of sentence-transformers where they are not cosine."""


def _positive(path: Path, config: Mapping[str, Any], key: str) -> int | None:
    value = config.get(key)
    if value is not None and (not isinstance(value, int) or value < 1):
        raise ModelRefused(f"{path} has {key} {value!r}, which must be a positive whole number")
    return value
