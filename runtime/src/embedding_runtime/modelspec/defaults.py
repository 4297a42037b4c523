"""config_sentence_transformers.json: what is done to every text and vector where nobody asks for anything else."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from embedding_runtime.modelspec.files import ModelRefused, object_or_nothing

__all__ = ["Defaults"]


@dataclass(frozen=True)
class Defaults:
    """All of them, with sentence-transformers' own where the file is silent or missing."""

    prompt: str
    """Stands before every text; empty for most."""
    prompts: Mapping[str, str]
    """By name, what a request may ask for instead."""
    keep: int | None
    """Dimensions that are kept of a vector, the first ones (matryoshka); None: all."""
    similarity: str
    """How two vectors are to be compared: cosine, dot, euclidean, manhattan."""

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Raises ModelRefused."""
        path = directory / "config_sentence_transformers.json"
        config = object_or_nothing(path)
        kind = config.get("model_type", "SentenceTransformer")
        if kind != "SentenceTransformer":
            raise ModelRefused(f"{path} says that this is a {kind}: only SentenceTransformer is served")
        prompts, name = config.get("prompts") or {}, config.get("default_prompt_name")
        if name is not None and name not in prompts:
            raise ModelRefused(f"{path} has default_prompt_name {name!r}, but no such prompt")
        keep = config.get("truncate_dim")
        if keep is not None and (not isinstance(keep, int) or keep < 1):
            raise ModelRefused(f"{path} has truncate_dim {keep!r}: it has to be a number from 1 up")
        return cls(
            prompt="" if name is None else prompts[name] or "",
            prompts={each: text or "" for each, text in prompts.items()},
            keep=keep,
            similarity=config.get("similarity_fn_name") or "cosine",
        )
