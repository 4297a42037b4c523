"""The token ids of words, kept: BERT's tokenizers take each word by itself, and most texts are made of few words.

tokenizers computes them anew every time, a microsecond or two a token, which is most of what a frontend does for a
request of many texts. A text is put together from words here where it is ASCII, without control characters, and all its
words are known; tokenizers gets the others as a whole. The tests compare both.
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
"""As BertPreTokenizer splits printable ASCII: at white space, and around each punctuation mark."""

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x0c\x0e-\x1f\x7f]")
"""What BertNormalizer takes away, which joins what stands around it."""

MOST_WORDS = 1 << 16
"""Words that are kept, 10 MB or so; then it begins anew."""

MOST_CHARACTERS = 32
"""Of a word that is kept."""

LEARNED = 64
"""Words that are learned from one call of `learn`: texts made of words that nobody else uses cost little more."""


class KnownWords:
    """The ids of words that were met, as bytes of int32. Safe in any thread."""

    def __init__(self, tokenizer: Tokenizer, first: Sequence[int], last: Sequence[int]) -> None:
        """`first` and `last`: the ids around every text."""
        self._tokenizer = tokenizer
        self._first, self._last = _bytes(first), _bytes(last)
        self._ids: dict[str, bytes] = {}
        self._marks = "".join({token.content[0] for token in tokenizer.get_added_tokens_decoder().values()})

    @classmethod
    def of(cls, tokenizer: Tokenizer, first: Sequence[int], last: Sequence[int]) -> Self | None:
        """None: the tokenizer does not take words one by one, or has tokens that begin as words do."""
        found: Mapping[str, Any] = json.loads(tokenizer.to_str())
        kinds = found["model"].get("type"), (found["pre_tokenizer"] or {}).get("type")
        if kinds != ("WordPiece", "BertPreTokenizer") or not _by_character(found["normalizer"]):
            return None
        words = cls(tokenizer, first, last)
        return words if all(mark in _PUNCTUATION for mark in words._marks) else None

    def ids(self, text: str) -> bytes | None:
        """Of the whole text; None: tokenizers has to be asked."""
        if not text.isascii() or any(mark in text for mark in self._marks) or _CONTROL.search(text):
            return None
        try:
            return b"".join([self._first, *map(self._ids.__getitem__, _WORDS.findall(text)), self._last])
        except KeyError:
            return None

    def learn(self, texts: Sequence[str]) -> None:
        """Keep the words of texts of which `ids` did not know all."""
        words = (word for text in texts for word in _WORDS.findall(text))
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
    """Whether it changes characters of ASCII one by one, so that words may be cut before it."""
    match (normalizer or {}).get("type"):
        case None | "BertNormalizer" | "Lowercase":
            return True
        case "Sequence":
            return all(map(_by_character, (normalizer or {})["normalizers"]))
        case _:
            return False


def _bytes(ids: Sequence[int]) -> bytes:
    return np.array(ids, dtype=np.int32).tobytes()
