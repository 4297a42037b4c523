"""Token ids of known words. BERT tokenizers treat each word by itself, and most texts consist of few different words.

The tokenizers library computes them each time, at 1-2 us per token, which is most of a frontend's work for a request
with many texts. A text is assembled from known words here if it is ASCII without control characters and all its words
are known. All other texts go to the tokenizer. The tests compare the two.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import islice
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer

__all__ = ["KnownWords"]

_WORDS = re.compile(r"[A-Za-z0-9]+|[!-/:-@\[-`{-~]")
"""How BertPreTokenizer splits printable ASCII: at white space, and before and after each punctuation mark."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")
"""Removed by BertNormalizer, which joins the characters around it."""

MOST_WORDS = 1 << 16
"""Words that are kept, about 13 MB. When there are more, all are dropped."""

MOST_CHARACTERS = 32
"""Length of a word that is kept."""

LEARNED = 64
"""Words learned per call of `learn`, so that texts of unusual words cost little more than without it."""


class KnownWords:
    """Token ids of words, as bytes of int32. Thread-safe."""

    def __init__(self, tokenizer: Tokenizer, first: Sequence[int], last: Sequence[int]) -> None:
        """`first` and `last`: ids of the special tokens before and after every text."""
        self._tokenizer = tokenizer
        self._first, self._last = _bytes(first), _bytes(last)
        self._ids: dict[str, bytes] = {}
        self._marks = "".join({token.content[0] for token in tokenizer.get_added_tokens_decoder().values()})

    @classmethod
    def of(cls, tokenizer: Tokenizer, first: Sequence[int], last: Sequence[int]) -> Self | None:
        """None if the tokenizer does not treat words one by one, or has added tokens that start like words."""
        found: Mapping[str, Any] = json.loads(tokenizer.to_str())
        kinds = found["model"].get("type"), (found["pre_tokenizer"] or {}).get("type")
        if kinds != ("WordPiece", "BertPreTokenizer") or not _by_character(found["normalizer"]):
            return None
        words = cls(tokenizer, first, last)
        return words if all(mark in _PUNCTUATION for mark in words._marks) else None

    def ids(self, text: str) -> bytes | None:
        """The ids of a text, special tokens included. None: use the tokenizer."""
        if not text.isascii() or any(mark in text for mark in self._marks) or _CONTROL.search(text):
            return None
        try:
            return b"".join([self._first, *map(self._ids.__getitem__, _WORDS.findall(text)), self._last])
        except KeyError:
            return None

    def learn(self, texts: Sequence[str]) -> None:
        """Keep words of texts for which `ids` returned None."""
        words = (found.group() for text in texts for found in _WORDS.finditer(text))
        unknown = (word for word in words if word not in self._ids and len(word) <= MOST_CHARACTERS)
        new = list(dict.fromkeys(islice(unknown, LEARNED)))
        if len(self._ids) + len(new) > MOST_WORDS:
            self._ids = {}
        for word, found in zip(
            new, self._tokenizer.encode_batch_fast(list(new), add_special_tokens=False), strict=True
        ):
            self._ids[word] = _bytes(found.ids)


_PUNCTUATION = frozenset("!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~")


def _by_character(normalizer: Mapping[str, Any] | None) -> bool:
    """Whether it changes ASCII characters one by one, so that a text may be split into words before it."""
    match (normalizer or {}).get("type"):
        case None | "BertNormalizer" | "Lowercase":
            return True
        case "Sequence":
            return all(map(_by_character, (normalizer or {})["normalizers"]))
        case _:
            return False


def _bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()
