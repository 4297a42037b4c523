"""Options of an embedding request, validated against the model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from embedding_runtime.contract import Kind, Truncate
from embedding_runtime.errors import BadRequest, UnsupportedTask
from embedding_runtime.model import ModelSpec, Side
from embedding_runtime.protocol.rows import VectorRows

__all__ = ["Options", "unit_length"]

_SIDES = {"START": Side.LEFT, "END": Side.RIGHT, "left": Side.LEFT, "right": Side.RIGHT}

_QUERY, _DOCUMENT = ("query",), ("document", "passage", "corpus")
_PROMPTS_FOR = {
    "query": _QUERY,
    "search_query": _QUERY,
    "document": _DOCUMENT,
    "passage": _DOCUMENT,
    "search_document": _DOCUMENT,
}
"""Prompt names by input type, as in sentence-transformers' encode_query and encode_document. Empty prompts, which
sentence-transformers saves by default, are skipped.
"""


@dataclass(frozen=True)
class Options:
    """Options of one request."""

    prompt: str
    """Text put before each text."""
    limit: int
    """Maximum tokens of a text, including the prompt and special tokens."""
    cut: Side | None
    """Side at which longer texts are truncated; None: they are rejected."""
    dimensions: int
    """Number of dimensions to keep."""
    normalize: bool
    """Whether to scale the vectors to length 1 after truncation."""

    @classmethod
    def of(
        cls,
        spec: ModelSpec,
        *,
        dimensions: int | None = None,
        truncate: bool | str | None = None,
        sides: Sequence[str | None] = (),
        keep_tokens: int | None = None,
        normalize: bool | None = None,
        prompt_name: str | None = None,
        input_type: str | None = None,
        kind: Kind = Kind.EMBEDDING_MODEL,
    ) -> Self:
        """`kind`: the kind of model that the request needs. `truncate`: a boolean or Cohere's value. `sides`: left or
        right, from each field that an API has for it. `keep_tokens`: vLLM's truncate_prompt_tokens. If neither says
        whether to truncate, --truncate applies.

        Raises UnsupportedTask for a model of another kind, and BadRequest that lists every option that the model does
        not support.
        """
        if spec.kind is not kind and not (kind is Kind.SPARSE_ENCODER and "sparse" in spec.outputs):
            withheld = spec.token_heads.withheld
            raise UnsupportedTask(_OTHER_KINDS[kind, spec.kind] + (f" ({withheld})" if withheld else ""))
        prompt, no_prompt = _prompt(spec, prompt_name, input_type)
        ends = _ends(truncate, sides)
        if truncate is None and keep_tokens is None and spec.truncate is not Truncate.OFF:
            truncate, ends = True, ends or {_SIDES[spec.truncate.upper()]}
        problems = {
            "dimensions": _size_problem(spec, dimensions),
            "truncate": _truncate_problem(truncate, keep_tokens),
            "truncation_side": _side_problem(ends),
            "truncate_prompt_tokens": _limit_problem(spec, keep_tokens),
            "normalize": _normalize_problem(spec, normalize),
            "input_type" if prompt_name is None else "prompt_name": no_prompt,
        }
        if found := {param: words for param, words in problems.items() if words is not None}:
            raise BadRequest("; ".join(f"{param}: {words}" for param, words in found.items()), param=next(iter(found)))
        size = spec.dimensions if dimensions is None else dimensions
        whole = size == spec.dimensions
        cuts = truncate not in (None, False, "NONE") or keep_tokens is not None
        return cls(
            prompt=prompt,
            limit=spec.max_length if keep_tokens in (None, -1) else keep_tokens,
            cut=next(iter(ends), spec.cut_side) if cuts else None,
            dimensions=size,
            normalize=bool(normalize or spec.normalized) and not (spec.normalized and whole),
        )

    def finish(self, rows: VectorRows) -> VectorRows:
        """(texts, the model's dimensions) -> (texts, the requested dimensions)."""
        kept = rows[:, : self.dimensions]
        if not self.normalize:
            return np.ascontiguousarray(kept)
        return unit_length(kept)


def unit_length(rows: VectorRows) -> VectorRows:
    """Scale each row to length 1."""
    lengths = np.linalg.norm(rows, axis=1, keepdims=True).astype(np.float32)
    return np.asarray(rows / np.maximum(lengths, _TINY), dtype=np.float32)


_SCORES = "the served model is a cross-encoder, which has no embeddings: use /v1/rerank to score pairs of texts"
_OTHER_KINDS = {
    (Kind.EMBEDDING_MODEL, Kind.CROSS_ENCODER): _SCORES,
    (Kind.SPARSE_ENCODER, Kind.CROSS_ENCODER): _SCORES,
    (Kind.EMBEDDING_MODEL, Kind.SPARSE_ENCODER): "the served model is a sparse encoder, which has one sparse vector "
    "for each text and nothing else: use POST /embed_sparse",
    (Kind.SPARSE_ENCODER, Kind.EMBEDDING_MODEL): "the served model is an embedding model with dense vectors: use "
    "POST /v1/embeddings, or serve a sparse encoder (SPLADE)",
}
"""Messages by the kind that a request needs and that of the model."""

_TINY = np.float32(1e-12)
"""As in sentence-transformers: a vector of zeros stays zero."""


def _size_problem(spec: ModelSpec, requested: int | None) -> str | None:
    if requested is None or requested == spec.dimensions or requested in spec.sizes:
        return None
    own = f"{requested} is not supported: this model's vectors have {spec.dimensions} dimensions"
    if not spec.sizes:
        return f"{own}, and neither its files nor --matryoshka allow fewer; remove the field"
    sizes = spec.sizes
    few = f"{sizes.start} to {spec.dimensions}" if isinstance(sizes, range) else ", ".join(map(str, sizes))
    return f"{own}, and can be truncated to {few}"


def _truncate_problem(truncate: object, keep_tokens: int | None) -> str | None:
    if truncate in (False, "NONE") and keep_tokens is not None:
        return "it disables truncation, but truncate_prompt_tokens is set: remove one of them"
    return None


def _ends(truncate: object, sides: Sequence[str | None]) -> set[Side]:
    """The sides that the request selects."""
    words = [truncate] if truncate in ("START", "END") else []
    return {_SIDES[str(word)] for word in (*words, *(side.lower() for side in sides if side is not None))}


def _side_problem(ends: set[Side]) -> str | None:
    if len(ends) > 1:
        return "truncate, truncation_direction and truncation_side name different ends of the text: keep one of them"
    return None


def _limit_problem(spec: ModelSpec, keep_tokens: int | None) -> str | None:
    if keep_tokens is None or keep_tokens == -1 or 1 <= keep_tokens <= spec.max_length:
        return None
    return f"{keep_tokens} is not valid: use 1 to {spec.max_length}, or -1 for the model's maximum"


def _normalize_problem(spec: ModelSpec, normalize: object) -> str | None:
    if normalize is False and spec.normalized:
        return "false is not supported, since the model's files normalize its vectors: use true, or remove the field"
    return None


def _prompt(spec: ModelSpec, name: str | None, input_type: str | None) -> tuple[str, str | None]:
    """The prompt, and its problem if there is one."""
    if name is not None and input_type is not None:
        return "", "prompt_name and input_type exclude each other: remove one of them"
    if name is not None:
        if name not in spec.prompts:
            known = f"use one of {', '.join(spec.prompts)}" if spec.prompts else "it has none; remove the field"
            return "", f"this model has no such prompt: {known}"
        prompt = spec.prompts[name]
    elif input_type is None:
        prompt = spec.prompt
    else:
        otherwise = "" if input_type in _PROMPTS_FOR else spec.prompt
        names = _PROMPTS_FOR.get(input_type, (input_type,))
        prompt = next((spec.prompts[name] for name in names if spec.prompts.get(name)), otherwise)
    if prompt != spec.prompt and not spec.include_prompt:
        return (
            "",
            "this model excludes its prompt from pooling, so only its default prompt is supported: remove the field",
        )
    return prompt, None
