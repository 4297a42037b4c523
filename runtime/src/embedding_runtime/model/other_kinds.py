"""Kinds of models that this server does not serve, with the reason and what serves them."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from embedding_runtime.model.files import ModelRefused

__all__ = ["refused_modules", "why_not"]

_SPARSE = (
    "it is a sparse encoder of another kind than SPLADE: use sentence-transformers' SparseEncoder in the client, or "
    "serve a SPLADE model"
)
_LOGITS = (
    "it is a reranker that reads its score from a language model's next token, and config_sentence_transformers.json "
    "does not have model_type CrossEncoder: save it with CrossEncoder, as Transformer + LogitScore"
)
_MULTIVECTOR = (
    "it returns a vector for each token (ColBERT), and this server returns one for each text: use "
    "sentence-transformers' MultiVectorEncoder, or serve an embedding model"
)
_OLD_WORDS = (
    "it has no transformer (word vectors or counts), and this server runs transformers only: use sentence-transformers "
    "in the client, or serve a model with a transformer"
)
_MODULES: Mapping[str, str] = {
    "StaticEmbedding": (
        "after a static embedding, this server computes nothing but Normalize: use sentence-transformers in the client"
    ),
    **dict.fromkeys(("SparseAutoEncoder", "SparseStaticEmbedding", "IDF"), _SPARSE),
    "LogitScore": _LOGITS,
    **dict.fromkeys(("MultiVectorMask",), _MULTIVECTOR),
    **dict.fromkeys(("WordEmbeddings", "BoW", "LSTM", "CNN", "WordWeights"), _OLD_WORDS),
    "CLIPModel": "it also embeds images, and this server embeds texts only: serve a model that embeds texts",
    **dict.fromkeys(
        ("Router", "Asym"),
        "it embeds queries and documents by different modules, and this server runs one chain: save the chain that you "
        "need with sentence-transformers, and serve that",
    ),
}
"""Reason and remedy, by class of a module in sentence-transformers."""

_CLASSES: Mapping[str, str] = {"MultiVectorEncoder": _MULTIVECTOR}
"""Reason and remedy, by class of a whole model in sentence-transformers."""


def why_not(name: str) -> str:
    """Reason and remedy for a class of whole models."""
    return _CLASSES.get(name, "this server has no code for it: use sentence-transformers in the client")


def refused_modules(path: Path, kinds: Sequence[str], rule: str) -> ModelRefused:
    """The refusal of the modules in a modules.json. `rule`: what it may have."""
    listed = " + ".join(kinds) or "no modules"
    names = [kind.rpartition(".")[2] for kind in kinds if kind.startswith("sentence_transformers.")]
    why = next((_MODULES[name] for name in names if name in _MODULES), None)
    own = next((kind for kind in kinds if not kind.startswith("sentence_transformers.")), None)
    if why is None and own is not None:
        why = (
            f"only the first module may be of the model's own code, with --trust_remote_code=true, and {own} is not: "
            "use a model without it"
        )
    if why is None:
        why = "its other modules change vectors in ways that this server does not compute: use a model without them"
    return ModelRefused(f"{path} has {listed}, but {rule}: {why}")
