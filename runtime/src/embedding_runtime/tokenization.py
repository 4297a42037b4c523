"""Texts to token ids, with the model's own tokenizer.json. Imports no transformers: that costs seconds and torch."""

from collections.abc import Sequence

import numpy as np
from tokenizers import Encoding, Tokenizer, normalizers

from embedding_runtime.modelspec import ModelRefused, ModelSpec
from embedding_runtime.wire import SECOND, TokenIds

__all__ = ["TextTokenizer", "longest_first"]


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

    def encode(self, texts: Sequence[str]) -> list[TokenIds]:
        """One array of ids a text, its prompt in front. In the order given; takes its time: call it in a thread."""
        whole = [self._prompt + text for text in texts]
        return [np.array(found.ids, dtype=np.int32) for found in self._tokenizer.encode_batch_fast(whole)]

    def encode_pairs(self, pairs: Sequence[tuple[str, str]], *, cut_to: int | None = None) -> list[TokenIds]:
        """One array of ids a pair, its prompt in front; as `encode` otherwise.

        `cut_to`: the most tokens of a pair, special ones included; what is longer is cut as CrossEncoder cuts it.
        """
        whole = [(self._prompt + first, second) for first, second in pairs]
        found = self._tokenizer.encode_batch_fast(whole)
        if cut_to is not None:
            for place, encoding in enumerate(found):
                if len(encoding.ids) > cut_to:
                    found[place] = self._cut(*whole[place], cut_to)
        return [np.array(e.ids, dtype=np.int32) + SECOND * np.array(e.type_ids, dtype=np.int32) for e in found]

    def _cut(self, first: str, second: str, length: int) -> Encoding:
        """The tokenizer's own truncation is a setting of it, which other threads would see."""
        one, other = self._tokenizer.encode_batch([first, second], add_special_tokens=False)
        room = max(length - self._tokenizer.num_special_tokens_to_add(is_pair=True), 0)
        kept, others_kept = longest_first(len(one.ids), len(other.ids), room)
        one.truncate(kept)
        other.truncate(others_kept)
        return self._tokenizer.post_process(one, other)


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts stay where there is room for fewer: the longer one is cut until they are equal.

    As tokenizers' strategy of that name, which gives the odd token to the longer text, to the second of equal ones.
    """
    less, more = sorted((first, second))
    if less + more > room:
        less = min(less, room // 2)
        more = room - less
    return (less, more) if first <= second else (more, less)
