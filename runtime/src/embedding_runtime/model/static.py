"""Reads static models: a table with a vector for each token. The vector of a text is the mean of its tokens' vectors.

They are saved by sentence-transformers (StaticEmbedding) or by model2vec, whose files have other names for the table.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from embedding_runtime.contract import Dtype
from embedding_runtime.model.body import Body, Side
from embedding_runtime.model.files import ModelRefused, check_weights, json_in, object_in, tensors_in

__all__ = ["MODEL2VEC", "NAMES", "Static"]

MODEL2VEC = "model2vec"
"""model_type in config.json."""

NAMES = ("embedding.weight", "embeddings")
"""Names of the table: StaticEmbedding's, and model2vec's. The latter may have `mapping` and `weights` beside it."""


@dataclass(frozen=True)
class Static:
    """Properties of the table and its tokenizer."""

    vocabulary: int
    """Number of token ids."""
    dimensions: int
    max_length: int
    """Maximum length in tokens, from the tokenizer's truncation, or UNLIMITED."""
    cuts_left: bool
    """Whether the tokenizer truncates at the start."""

    @property
    def body(self) -> Body:
        """The same as of a transformer."""
        return Body(
            max_length=self.max_length,
            vocabulary=self.vocabulary,
            padding=None,
            cut_side=Side.LEFT if self.cuts_left else Side.RIGHT,
            lower_case=False,
            dtype=Dtype.FLOAT32,
            architecture="",
            causal=False,
        )

    @classmethod
    def read(cls, directory: Path) -> Self:
        """Read the files beside model.safetensors. Raises ModelRefused."""
        check_weights(directory)
        weights = directory / "model.safetensors"
        if not weights.is_file():
            raise ModelRefused(
                f"{directory} has no model.safetensors, and a static model is read from that file only: save the model "
                "with the installed sentence-transformers"
            )
        tensors = tensors_in(weights)
        table = next((tensors[name] for name in NAMES if name in tensors), None)
        if table is None:
            raise ModelRefused(f"{weights} has no table of token vectors ({' or '.join(NAMES)}): use another model")
        truncation = json_in(directory / "tokenizer.json").get("truncation") or {}
        return cls(
            vocabulary=tensors.get("mapping", table).shape[0],
            dimensions=table.shape[-1],
            max_length=truncation.get("max_length") or UNLIMITED,
            cuts_left=str(truncation.get("direction")).lower() == "left",
        )

    @classmethod
    def read_model2vec(cls, directory: Path) -> tuple[Self, bool]:
        """Read a model in model2vec's own format. Returns also whether its vectors are normalized. Raises ModelRefused.

        Its config.json limits the length instead of tokenizer.json. A unit vector is what modules.json would say, which
        model2vec writes, too.
        """
        config: Any = object_in(directory / "config.json")
        found = cls.read(directory)
        length = config.get("max_length", _DEFAULT_LENGTH) or UNLIMITED
        return cls(found.vocabulary, found.dimensions, length, found.cuts_left), bool(config.get("normalize"))


UNLIMITED = 1 << 20
"""Maximum length of a model without one. Requests have limits of their own."""

_DEFAULT_LENGTH = 512
"""model2vec's default."""
