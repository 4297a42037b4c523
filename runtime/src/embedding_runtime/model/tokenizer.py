"""Texts to token ids, with the model's own tokenizer.json. Imports no transformers: that costs seconds and torch."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import numpy as np
from tokenizers import Encoding, Tokenizer, normalizers

from embedding_runtime.model import ModelRefused, ModelSpec, Side
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds

__all__ = ["TextTokenizer", "Token"]

Written = TypeVar("Written")


class Token(NamedTuple):
    """One token of a text, and where it stands there."""

    id: int
    text: str
    special: bool
    """Put around the text by the tokenizer."""
    start: int
    stop: int
    """In characters, exclusive."""


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
        self.first, self.last = self._specials()
        """The tokens that stand around every text."""

    def encode(self, texts: Sequence[str], *, prompt: str | None = None) -> TokenBatch:
        """The ids of each text, a prompt in front (None: the model's default one), in the order given.

        Takes its time: call it in a thread.
        """
        before = self._prompt if prompt is None else prompt
        whole = [before + text for text in texts] if before else list(texts)
        return TokenBatch.of(
            [np.array(found.ids, dtype=np.int32) for found in self._tokenizer.encode_batch_fast(whole)]
        )

    def encode_pairs(
        self,
        pairs: Sequence[str | tuple[str, str]],
        *,
        cut_to: int | None = None,
        cuts: list[bool] | None = None,
    ) -> TokenBatch:
        """The ids and types of each pair, or single text, its prompt in front; as `encode` otherwise.

        `cut_to`: the most tokens of a pair, special ones included; what is longer is cut as CrossEncoder cuts it.
        `cuts` gets, for each, whether it was.
        """
        whole = [
            self._prompt + given if isinstance(given, str) else (self._prompt + given[0], given[1]) for given in pairs
        ]
        found = self._tokenizer.encode_batch_fast(whole)
        if cut_to is not None:
            too_long = [len(encoding.ids) > cut_to for encoding in found]
            for place in np.flatnonzero(too_long):
                found[place] = self._cut(whole[place], cut_to)
            if cuts is not None:
                cuts += too_long
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in found]
        return TokenBatch.of(ids, [np.array(encoding.type_ids, dtype=np.uint8) for encoding in found])

    def _cut(self, given: str | tuple[str, str], length: int) -> Encoding:
        """The tokenizer's own truncation is a setting of it, which other threads would see."""
        special = self._tokenizer.num_special_tokens_to_add(is_pair=not isinstance(given, str))
        room = max(length - special, 0)
        if isinstance(given, str):
            alone = self._tokenizer.encode(given, add_special_tokens=False)
            alone.truncate(room)
            return self._tokenizer.post_process(alone)
        one, other = self._tokenizer.encode_batch(list(given), add_special_tokens=False)
        kept, others_kept = longest_first(len(one.ids), len(other.ids), room)
        one.truncate(kept)
        other.truncate(others_kept)
        return self._tokenizer.post_process(one, other)

    def decode(self, texts: Sequence[Sequence[int]], *, skip_special_tokens: bool) -> list[str]:
        """The text of each list of ids. Raises ValueError for an id that the tokenizer does not have."""
        for ids in texts:
            unknown = next((id_ for id_ in ids if id_ >= _NO_ID or self._tokenizer.id_to_token(id_) is None), None)
            if unknown is not None:
                raise ValueError(f"the tokenizer has no token with id {unknown}")
        found: list[str] = self._tokenizer.decode_batch(
            [list(ids) for ids in texts], skip_special_tokens=skip_special_tokens
        )
        return found

    def cut(self, ids: TokenIds, length: int, side: Side) -> TokenIds:
        """At most `length` tokens, taken away at that side, as transformers does: the special tokens around stay.

        `length` has room for the special tokens and one more.
        """
        if len(ids) <= length:
            return ids
        first, last = len(self.first), len(self.last)
        inner = ids[first : len(ids) - last]
        room = length - first - last
        kept = inner[:room] if side is Side.RIGHT else inner[len(inner) - room :]
        return np.concatenate([ids[:first], kept, ids[len(ids) - last :]])

    def check_ids(self, vocabulary: int) -> str | None:
        """Which of its tokens have ids from `vocabulary` up, in words; None: none has, as far as it is known quickly.

        Raises ModelRefused where they are in every text.
        """
        around = self.encode([""]).ids
        if len(around) and around.max() >= vocabulary:
            raise ModelRefused(
                f"the tokenizer puts {self.name(int(around.max()))} into every text, and the model's weights have rows "
                f"for the ids below {vocabulary} only: resize the model's embeddings to the tokenizer"
            )
        added = self._tokenizer.get_added_tokens_decoder()
        end = max(self._tokenizer.get_vocab_size(), *(id_ + 1 for id_ in added), 0)
        beyond = [id_ for id_ in range(vocabulary, end) if self._tokenizer.id_to_token(id_) is not None]
        if not beyond:
            return None
        named = ", ".join(map(self.name, beyond[:_NAMED])) + (", ..." if len(beyond) > _NAMED else "")
        return (
            f"the tokenizer has {len(beyond)} tokens ({named}) beyond the ids below {vocabulary} that the model's "
            "weights have rows for: a text with one of them is answered with 400; resize the model's embeddings"
        )

    def name(self, id_: int) -> str:
        """A token, as messages have it."""
        return f"the token {self._tokenizer.id_to_token(id_)!r} with id {id_}"

    def count(self, text: str) -> int:
        """How many tokens it has by itself, without a prompt and special ones."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def tokens(
        self, texts: Sequence[str], write: Callable[[Iterable[Token]], Written], *, special: bool = True
    ) -> list[tuple[int, Written]]:
        """For each text as it stands, without a prompt, the number of its tokens and what `write` makes of them.

        They are not kept: each takes hundreds of bytes. `special` puts the model's own around a text.
        """
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=special)
        return [(len(each), write(_tokens_of(each))) for each in found]

    def _specials(self) -> tuple[list[int], list[int]]:
        """A text's own tokens stand in the middle of those with special ones; where, one text tells for all."""
        plain = self._tokenizer.encode(_ANY_TEXT, add_special_tokens=False).ids
        whole = self._tokenizer.encode(_ANY_TEXT).ids
        for first in range(len(whole) - len(plain) + 1):
            if whole[first : first + len(plain)] == plain:
                return whole[:first], whole[first + len(plain) :]
        raise ModelRefused("the tokenizer changes a text's own tokens where it puts special ones around them")


def _tokens_of(encoding: Encoding) -> Iterable[Token]:
    columns = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
    return (Token(id_, token, bool(is_special), *place) for id_, token, is_special, place in columns)


_ANY_TEXT = "a text"

_NO_ID = 1 << 32
"""tokenizers' ids are below this."""

_NAMED = 5
"""Tokens in a warning."""


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """How many tokens of two texts stay where there is room for fewer: the longer one is cut until they are equal.

    As tokenizers' strategy of that name, which gives the odd token to the longer text, to the second of equal ones.
    """
    less, more = sorted((first, second))
    if less + more > room:
        less = min(less, room // 2)
        more = room - less
    return (less, more) if first <= second else (more, less)
