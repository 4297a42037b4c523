"""Texts to token ids, with the model's own tokenizer.json. Imports no transformers: that costs seconds and torch."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, normalizers

from embedding_runtime.modelspec import ModelRefused, ModelSpec

__all__ = ["TextTokenizer"]


class TextTokenizer:
    """Gives the ids that sentence-transformers would, special tokens included, cut nowhere. Safe in any thread."""

    def __init__(self, spec: ModelSpec) -> None:
        """Raises ModelRefused."""
        path = spec.directory / "tokenizer.json"
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
        except Exception as error:  # tokenizers raises nothing narrower
            raise ModelRefused(f"{path} cannot be read as a tokenizer: {error}") from error
        # The file carries the settings of whoever saved it last (MiniLM's: cut to 128 and pad to 128).
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if spec.lower_case:
            own = self._tokenizer.normalizer
            lower = normalizers.Lowercase()
            self._tokenizer.normalizer = lower if own is None else normalizers.Sequence([lower, own])
        self._prompt = spec.prompt

    def encode(self, texts: Sequence[str]) -> list[npt.NDArray[np.int32]]:
        """One array of ids a text, its prompt in front. In the order given; takes its time: call it in a thread."""
        whole = [self._prompt + text for text in texts]
        return [np.array(found.ids, dtype=np.int32) for found in self._tokenizer.encode_batch_fast(whole)]
