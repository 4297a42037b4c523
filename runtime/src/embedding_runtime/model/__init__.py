"""What a model's own files say a vector is: pooling, dense layers, normalization, prompt, lengths, types.

Or, for a cross-encoder, what the scores of a pair are.

Read from the directory that sentence-transformers saves, in its old format (`pooling_mode_mean_tokens: true`) and its
new one (`pooling_mode: mean`, since 5.4), or from a plain transformers model, where sentence-transformers' own defaults
stand in and are told as assumed. What the files ask for and no backend does is refused by name, never left out:
`SentenceTransformer(directory).encode(text)` is the reference for every vector that is served, and
`CrossEncoder(directory).predict(pair)` for every score.
"""

from embedding_runtime.model.body import Side
from embedding_runtime.model.files import ModelRefused
from embedding_runtime.model.head import Cut, Dense, Normalize, Pooling, Step
from embedding_runtime.model.scores import Scores
from embedding_runtime.model.spec import ModelSpec

__all__ = ["Cut", "Dense", "ModelRefused", "ModelSpec", "Normalize", "Pooling", "Scores", "Side", "Step"]
