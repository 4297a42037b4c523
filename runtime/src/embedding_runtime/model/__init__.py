"""Reads a model's own files: pooling, dense layers, normalization, prompts, lengths, types, cross-encoders' scores,
sparse encoders' pooling.

It supports directories saved by sentence-transformers, in the old format (`pooling_mode_mean_tokens: true`) and the new
one (`pooling_mode: mean`, since 5.4), and plain transformers models, for which it uses sentence-transformers' defaults
and reports these assumptions. A setting that no backend supports is refused by name, never ignored. The reference for
vectors is `SentenceTransformer(directory).encode(text)`, for scores `CrossEncoder(directory).predict(pair)`, and
for sparse vectors `SparseEncoder(directory).encode(text)`.
"""

from embedding_runtime.model.body import Side
from embedding_runtime.model.files import ModelRefused
from embedding_runtime.model.head import Cut, Dense, Normalize, Pooling, Step
from embedding_runtime.model.scores import Problem, Scores, ScoreTokens
from embedding_runtime.model.spec import ModelSpec
from embedding_runtime.model.splade import Activation, Splade, Strategy

__all__ = [
    "Activation",
    "Cut",
    "Dense",
    "ModelRefused",
    "ModelSpec",
    "Normalize",
    "Pooling",
    "Problem",
    "ScoreTokens",
    "Scores",
    "Side",
    "Splade",
    "Step",
    "Strategy",
]
