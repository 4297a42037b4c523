"""Tokenizes with a tokenizer.json, without importing transformers, which takes seconds and loads torch."""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar, cast

import numpy as np
from tokenizers import Encoding, Tokenizer, normalizers

from embedding_runtime.model import ModelRefused, ModelSpec, Side
from embedding_runtime.model.chat_template import ChatTemplate
from embedding_runtime.model.files import is_of_library, refuse_pointer
from embedding_runtime.model.words import KnownWords
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds

__all__ = ["TextTokenizer", "Token"]

os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
"""Requests are tokenized in parallel to each other. A pool with a thread per core for each of them costs more time."""

Written = TypeVar("Written")


class Token(NamedTuple):
    """A token and its position in the text."""

    id: int
    text: str
    special: bool
    """Whether the tokenizer added it."""
    start: int
    stop: int
    """End in characters, exclusive."""


class TextTokenizer:
    """Returns the same ids as sentence-transformers, without truncation; with special tokens, except for static models.

    Thread-safe.
    """

    _tokenizer: Tokenizer
    first: Sequence[int]
    """Special tokens before every text."""
    last: Sequence[int]
    """Special tokens after every text."""
    _words: KnownWords | None

    def __init__(self, spec: ModelSpec, *, reads: bool = True) -> None:
        """`reads`: whether to read the tokenizer now; else call `read` before any other method. Raises ModelRefused."""
        self._prompt, self._lower_case, self._chat = spec.prompt, spec.lower_case, spec.chat
        self._max_length, self._cut_side = spec.max_length, spec.cut_side
        self._has_specials = not spec.static
        if reads:
            self.read(spec.tokenizer_file)

    def read(self, path: Path) -> None:
        """Use this tokenizer.json from now on. Not thread-safe. Raises ModelRefused."""
        refuse_pointer(path)
        try:
            self._tokenizer = Tokenizer.from_file(str(path))
            for other in (None, _ANY_TEXT):
                self._tokenizer.encode(_ANY_TEXT, other)  # panics if its template has an unknown token
        except BaseException as error:  # tokenizers raises nothing narrower; a panic is no Exception
            if not is_of_library(error):
                raise
            raise ModelRefused(f"{path} is not a valid tokenizer: {error}") from error
        # The file has settings of its last user, such as truncation and padding to 128 tokens in MiniLM's.
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        if not self._has_specials:
            self._tokenizer.post_processor = None
        if self._lower_case:
            own = self._tokenizer.normalizer
            lower = normalizers.Lowercase()
            self._tokenizer.normalizer = lower if own is None else normalizers.Sequence([lower, own])
        self.first, self.last = self._specials()
        self._words = KnownWords.of(self._tokenizer, self.first, self.last)

    def encode(self, texts: Sequence[str], *, prompt: str | None = None) -> TokenBatch:
        """Tokenize texts with a prompt before each (None: the model's default).

        Slow for many texts: call it in a thread.
        """
        before = self._prompt if prompt is None else prompt
        whole = [before + text for text in texts] if before else list(texts)
        if self._words is None:
            return TokenBatch.of(
                [np.array(found.ids, dtype=np.int32) for found in self._tokenizer.encode_batch_fast(whole)]
            )
        ids = [self._words.ids(text) for text in whole]
        if unknown := [place for place, found in enumerate(ids) if found is None]:
            rest = [whole[place] for place in unknown]
            for place, encoding in zip(unknown, self._tokenizer.encode_batch_fast(rest), strict=True):
                ids[place] = np.array(encoding.ids, dtype=np.int32).tobytes()
            self._words.learn(rest)
        joined = b"".join(found for found in ids if found is not None)
        lengths = np.array([len(found) // 4 for found in ids if found is not None], dtype=np.uint32)
        return TokenBatch(np.frombuffer(joined, dtype=np.int32), lengths)

    def encode_pairs(
        self,
        pairs: Sequence[str | tuple[str, str]],
        *,
        prompt: str | None = None,
        cut_to: int | None = None,
        cuts: list[bool] | None = None,
    ) -> TokenBatch:
        """Tokenize pairs or single texts, with token types; see `encode`. With a chat template, pairs only.

        `cut_to`: maximum tokens of a pair, special tokens included; longer pairs are truncated as CrossEncoder does.
        Whether each pair was truncated is added to `cuts`.
        """
        before = self._prompt if prompt is None else prompt
        if self._chat is not None:
            return self._encode_chats(self._chat, cast("Sequence[tuple[str, str]]", pairs), before, cut_to, cuts)
        whole = [before + given if isinstance(given, str) else (before + given[0], given[1]) for given in pairs]
        found = self._tokenizer.encode_batch_fast(whole)
        if cut_to is not None:
            too_long = [len(encoding.ids) > cut_to for encoding in found]
            for place in np.flatnonzero(too_long):
                found[place] = self._cut(whole[place], cut_to)
            if cuts is not None:
                cuts += too_long
        ids = [np.array(encoding.ids, dtype=np.int32) for encoding in found]
        return TokenBatch.of(ids, [np.array(encoding.type_ids, dtype=np.uint8) for encoding in found])

    def _encode_chats(
        self,
        chat: ChatTemplate,
        pairs: Sequence[tuple[str, str]],
        instruction: str,
        cut_to: int | None,
        cuts: list[bool] | None,
    ) -> TokenBatch:
        """Render and tokenize pairs; see `encode_pairs`. The template has the special tokens."""
        texts = [chat.render(query, document, instruction) for query, document in pairs]
        found = [np.array(ids, dtype=np.int32) for ids in self._ids_of(texts)]
        limit = self._max_length if cut_to is None else cut_to
        if cut_to is not None and cuts is not None:
            cuts += [len(ids) > limit for ids in found]
        # CrossEncoder takes a pair of exactly the maximum for a truncated one, and restores its suffix, too.
        full = [place for place, ids in enumerate(found) if len(ids) == limit or (cut_to and len(ids) > limit)]
        suffix = self._suffix(chat, instruction) if full and chat.restores_suffix else ()
        for place in full:
            ids = found[place]
            kept = ids[:limit] if self._cut_side is Side.RIGHT else ids[len(ids) - limit :]
            number = min(len(suffix), limit)
            found[place] = np.concatenate([kept[: limit - number], suffix[len(suffix) - number :]])
        return TokenBatch.of(found)

    def _suffix(self, chat: ChatTemplate, instruction: str) -> TokenIds:
        """The tokens that the template adds after the pair, found as in CrossEncoder, with two pairs."""
        texts = [chat.render(filler, filler, instruction) for filler in ("0", "1 2 3 4")]
        one, other = (np.array(ids, dtype=np.int32) for ids in self._ids_of(texts))
        shorter = min(len(one), len(other))
        differ = np.flatnonzero(one[len(one) - shorter :] != other[len(other) - shorter :])
        same = shorter - 1 - int(differ[-1]) if len(differ) else 0  # equal pairs: the template leaves out the texts
        return one[len(one) - same :]

    def _ids_of(self, rendered: list[str]) -> list[list[int]]:
        found = self._tokenizer.encode_batch_fast(rendered, add_special_tokens=False)
        return [encoding.ids for encoding in found]

    def _cut(self, given: str | tuple[str, str], length: int) -> Encoding:
        """Truncate. The tokenizer's own truncation is a global setting, which would affect other threads."""
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
        """Decode token ids. Raises ValueError for an unknown id."""
        for ids in texts:
            unknown = next((id_ for id_ in ids if id_ >= _NO_ID or self._tokenizer.id_to_token(id_) is None), None)
            if unknown is not None:
                raise ValueError(f"the tokenizer has no token with the id {unknown}")
        found: list[str] = self._tokenizer.decode_batch(
            [list(ids) for ids in texts], skip_special_tokens=skip_special_tokens
        )
        return found

    def cut(self, ids: TokenIds, length: int, side: Side) -> TokenIds:
        """Truncate token ids at a side, as transformers does: special tokens are kept.

        `length` must be larger than the number of special tokens.
        """
        if len(ids) <= length:
            return ids
        first, last = len(self.first), len(self.last)
        inner = ids[first : len(ids) - last]
        room = length - first - last
        kept = inner[:room] if side is Side.RIGHT else inner[len(inner) - room :]
        return np.concatenate([ids[:first], kept, ids[len(ids) - last :]])

    def check_ids(self, vocabulary: int) -> str | None:
        """Describe tokens with ids of at least `vocabulary`; None if there are none, as far as a quick check shows.

        Raises ModelRefused if such a token is added to every text.
        """
        around = self.encode([""]).ids
        if len(around) and around.max() >= vocabulary:
            raise ModelRefused(
                f"the tokenizer adds {self.name(int(around.max()))} to every text, but the model's weights cover ids "
                f"below {vocabulary} only: resize the model's embeddings to the tokenizer"
            )
        added = self._tokenizer.get_added_tokens_decoder()
        end = max(self._tokenizer.get_vocab_size(), *(id_ + 1 for id_ in added), 0)
        beyond = [id_ for id_ in range(vocabulary, end) if self._tokenizer.id_to_token(id_) is not None]
        if not beyond:
            return None
        named = ", ".join(map(self.name, beyond[:_MAX_LISTED])) + (", ..." if len(beyond) > _MAX_LISTED else "")
        return (
            f"the tokenizer has {len(beyond)} tokens ({named}) that the model's weights do not cover (ids below "
            f"{vocabulary} only): a text with one of them is answered 400; resize the model's embeddings"
        )

    def name(self, id_: int) -> str:
        """The description of a token in messages."""
        return f"the token {self._tokenizer.id_to_token(id_)!r} (id {id_})"

    def count(self, text: str) -> int:
        """The number of tokens of a text, without prompt and special tokens."""
        return len(self._tokenizer.encode_batch_fast([text], add_special_tokens=False)[0])

    def tokens(
        self, texts: Sequence[str], write: Callable[[Iterable[Token]], Written], *, special: bool = True
    ) -> list[tuple[int, Written]]:
        """Return for each text, without a prompt, the number of its tokens and the result of `write` for them.

        The tokens are not kept, because each takes hundreds of bytes. `special`: add special tokens.
        """
        found = self._tokenizer.encode_batch(list(texts), add_special_tokens=special)
        return [(len(each), write(_tokens_of(each))) for each in found]

    def _specials(self) -> tuple[list[int], list[int]]:
        """The special tokens before and after every text, found with one text."""
        plain = self._tokenizer.encode(_ANY_TEXT, add_special_tokens=False).ids
        whole = self._tokenizer.encode(_ANY_TEXT).ids
        for first in range(len(whole) - len(plain) + 1):
            if whole[first : first + len(plain)] == plain:
                return whole[:first], whole[first + len(plain) :]
        raise ModelRefused(
            "the tokenizer changes the tokens of a text when it adds special tokens, which is not supported: serve "
            "a model whose tokenizer.json puts them before and after the text only"
        )


def _tokens_of(encoding: Encoding) -> Iterable[Token]:
    columns = zip(encoding.ids, encoding.tokens, encoding.special_tokens_mask, encoding.offsets, strict=True)
    return (Token(id_, token, bool(is_special), *place) for id_, token, is_special, place in columns)


_ANY_TEXT = "a text"

_NO_ID = 1 << 32
"""Upper bound of ids in tokenizers."""

_MAX_LISTED = 5
"""Tokens that a warning lists."""


def longest_first(first: int, second: int, room: int) -> tuple[int, int]:
    """The numbers of tokens to keep of two texts: the longer one is truncated until they are equal.

    Same as tokenizers' strategy of that name, which gives the odd token to the longer text, or to the second.
    """
    less, more = sorted((first, second))
    if less + more > room:
        less = min(less, room // 2)
        more = room - less
    return (less, more) if first <= second else (more, less)
