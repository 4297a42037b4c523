"""Texts to token ids, within the limits of one request, a slice at a time.

Between two slices a request may end: its client is gone, its time is up, or its tokens turn out to be more than it is
given. So nobody gets more than a slice of work that is not allowed.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Any, TypeVar

import numpy as np
from prometheus_client import Histogram

from embedding_runtime.contract import BackendName, Kind
from embedding_runtime.errors import BadRequest, InputTooLong, RequestTooLarge, UnsupportedTask
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import run_large
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.model import ModelSpec
from embedding_runtime.model.tokenizer import TextTokenizer, Token
from embedding_runtime.observability import tracing
from embedding_runtime.protocol.token_batch import TokenBatch, TokenIds

__all__ = ["Admit", "Given", "Tokenization", "admit_any"]

T = TypeVar("T")
Input = TypeVar("Input", bound=str | tuple[str, str])
Encoded = TypeVar("Encoded")

Given = str | Sequence[str] | Sequence[int] | Sequence[Sequence[int]]
"""A text, texts, the token ids of one or of several."""

Admit = Callable[[int], Awaitable[None]]
"""Called with a number of tokens that a request has at least. Raises what refuses it."""

SMALL = 1024
"""Characters that are tokenized on the loop: in a third of a millisecond, less than a thread costs on busy cores."""

SLICE = 1 << 16
"""Characters that are tokenized at a time: 30 MB of tokenizers' own objects where each is a token."""

FEW_IDS = 10_000
"""Token ids in a request that are checked on the loop, in a millisecond."""

CHARACTERS_PER_TOKEN = 2
"""A text of more characters for each token that a request may have is not tokenized, be it a single word.

A tokenizer takes a hundred bytes for each of them. No model takes a quarter of so long a text.
"""

GROWTH = 4
"""How many times as large a slice is as the one before, until it is SLICE: what is refused costs little."""


async def admit_any(_: int) -> None:
    """An Admit that refuses nothing."""


class Tokenization:
    """One model's tokenizer, and the limits for one request."""

    def __init__(
        self,
        name: str,
        backend: BackendName,
        spec: ModelSpec,
        tokenizer: TextTokenizer,
        *,
        limits: Limits,
        seconds: Histogram,
    ) -> None:
        """`name`: the model's; `seconds`: observes how long a request's texts took."""
        self._name, self._backend, self._spec = name, backend, spec
        self._tokenizer, self._limits, self._seconds = tokenizer, limits, seconds
        self.listing = asyncio.Lock()
        """Of requests for the tokens of long texts: one at a time."""

    async def texts(
        self,
        given: Given,
        options: Options,
        *,
        field: str,
        admit: Admit = admit_any,
        truncated: list[int] | None = None,
    ) -> TokenBatch:
        """The ids of each text. `truncated` gets the places of those that were cut.

        Raises BadRequest, UnsupportedTask, InputTooLong, what `admit` does.
        """
        if self._spec.kind is not Kind.EMBEDDING_MODEL:
            raise UnsupportedTask(
                f"{self._name} is a cross-encoder: it has no embeddings, it scores pairs at /v1/rerank"
            )
        many: Sequence[Any] = [given] if isinstance(given, str) or (given and isinstance(given[0], int)) else given
        self.check_number(many, field)
        if isinstance(many[0], str):
            cuts: list[bool] = []
            encode = self._encoder(options, cuts)
            most = None if options.cut is None else options.limit
            slices = self._in_slices(many, encode, size=_tokens, field=field, admit=admit, cut_to=most)
            texts = TokenBatch.joined(await self._timed(slices))
            if truncated is not None:
                truncated += np.flatnonzero(cuts).tolist()
        elif options.prompt:
            message = f"{field}: this model has a prompt before every text: send texts, and it is put there"
            raise BadRequest(message, param=field)
        else:
            check = partial(self._ids, many, field)
            texts = await run_large(check) if sum(map(len, many)) > FEW_IDS else check()
        self._check(texts, options.limit, field, more=len(texts) < len(many))
        return texts

    async def pairs(
        self,
        pairs: Sequence[str | tuple[str, str]],
        *,
        truncate: bool,
        field: str,
        admit: Admit = admit_any,
        truncated: list[int] | None = None,
    ) -> TokenBatch:
        """The ids of each pair (a query and a document). Pairs that are too long are cut if asked for.

        `field` is what the request calls them; `truncated` as in `texts`. Raises BadRequest, UnsupportedTask,
        InputTooLong, what `admit` does.
        """
        if self._spec.kind is not Kind.CROSS_ENCODER:
            raise UnsupportedTask(
                f"{self._name} is an embedding model: it scores no pairs, its vectors are at /v1/embeddings"
            )
        self.check_number(pairs, field)
        limit = self._spec.max_length
        cuts: list[bool] = []
        encode = partial(self._tokenizer.encode_pairs, cut_to=limit if truncate else None, cuts=cuts)
        most = limit if truncate else None
        slices = self._in_slices(pairs, encode, size=_tokens, field=field, admit=admit, cut_to=most)
        texts = TokenBatch.joined(await self._timed(slices))
        if truncated is not None:
            truncated += np.flatnonzero(cuts).tolist()
        self._check(texts, limit, field, more=len(texts) < len(pairs))
        return texts

    async def tokens(
        self,
        texts: Sequence[str],
        write: Callable[[Iterable[Token]], T],
        *,
        special: bool,
        field: str,
        admit: Admit = admit_any,
    ) -> tuple[list[T], int]:
        """What `write` makes of the tokens of each text, without a prompt; and their number.

        Raises BadRequest, what `admit` does.
        """
        self.check_number(texts, field)
        encode = partial(self._tokenizer.tokens, write=write, special=special)
        # One at a time: what is made of a text beside its ids takes several times as much.
        slices = await self._in_slices(texts, encode, size=_counted, field=field, admit=admit, run=run_large)
        found = [written for each in slices for _, written in each]
        tokens = sum(map(_counted, slices))
        self.check_tokens(tokens, field, more=len(found) < len(texts), one=len(texts) == 1)
        return found, tokens

    def check_number(self, texts: Sequence[object], field: str) -> None:
        """Of the texts, or pairs, in one request. Raises BadRequest."""
        if not texts:
            raise BadRequest(f"{field} is an empty list: give at least one text", param=field)
        if len(texts) > self._limits.max_inputs:
            most = f"{self._limits.max_inputs} are taken in one request (--max_inputs)"
            raise RequestTooLarge(f"{field} has {len(texts)} texts; {most}: send several requests", param=field)

    def check_tokens(self, tokens: int, field: str, *, more: bool = False, one: bool = False) -> None:
        """Of all texts in one request, `more` where some were not counted, `one` for one text. Raises BadRequest."""
        if tokens > self._limits.max_request_tokens:
            most = f"{self._limits.max_request_tokens} are taken in one request (--max_request_tokens)"
            has = f"{tokens} tokens or more" if more else f"{tokens} tokens"
            remedy = "split or shorten the text" if one else "send several requests"
            raise RequestTooLarge(f"{field} has {has}; {most}: {remedy}", param=field)

    async def _timed(self, work: Awaitable[T]) -> T:
        with tracing.span("tokenize"), self._seconds.time():
            return await work

    async def _in_slices(
        self,
        texts: Sequence[Input],
        encode: Callable[[Sequence[Input]], Encoded],
        *,
        size: Callable[[Encoded], int],
        field: str,
        admit: Admit,
        cut_to: int | None = None,
        run: Callable[[Callable[[], Encoded]], Awaitable[Encoded]] = asyncio.to_thread,
    ) -> list[Encoded]:
        """`encode` of all of them, a slice at a time; `size`: its tokens. It stops at more than a request may have.

        `cut_to`: the most tokens that `encode` leaves of a text. `run`: where a single slice is encoded.

        Then they are fewer than the texts, and the caller refuses them. Raises BadRequest for one that is far longer.
        """
        characters = sum(map(_characters, texts))
        if characters <= SMALL:
            return [encode(texts)]
        await admit(len(texts) * max(1, len(self._tokenizer.first) + len(self._tokenizer.last)))
        if characters <= SLICE:
            return [await run(partial(encode, texts))]
        found: list[Encoded] = []
        tokens = 0
        for few in _slices(texts):
            if _characters(few[-1]) > SLICE:
                await self._refuse_endless(few[-1], field, partial(_admit_more, admit, tokens, cut_to))
            found.append(await run_large(partial(encode, few)))
            tokens += size(found[-1])
            if tokens > self._limits.max_request_tokens:
                break
            await admit(tokens)
        return found

    async def _refuse_endless(self, text: str | tuple[str, str], field: str, admit: Admit) -> None:
        """Counted in pieces, whose ends may add some tokens: so half of them is what there is at least."""
        if (characters := _characters(text)) > (limit := CHARACTERS_PER_TOKEN * self._limits.max_request_tokens):
            taken = f"{limit} are taken ({CHARACTERS_PER_TOKEN} for each of --max_request_tokens)"
            raise RequestTooLarge(
                f"{field} has a text of {characters} characters; {taken}: split or shorten it", param=field
            )
        most, tokens = 2 * self._limits.max_request_tokens, 0
        for part in [text] if isinstance(text, str) else text:
            for start, stop in _pieces(len(part)):
                tokens += await run_large(partial(self._tokenizer.count, part[start:stop]))
                if tokens > most:
                    self.check_tokens(tokens, field, more=True, one=True)
                await admit(tokens // 2)

    def _encoder(self, options: Options, cuts: list[bool]) -> Callable[[Sequence[str]], TokenBatch]:
        """`cuts` gets, for each text, whether it was cut, where that is asked for. Raises BadRequest."""
        side, limit = options.cut, options.limit
        if side is None:
            return partial(self._tokenizer.encode, prompt=options.prompt)
        if limit <= len(self._tokenizer.first) + len(self._tokenizer.last):
            message = f"truncate_prompt_tokens={limit} leaves no room beside the tokens around every text"
            raise BadRequest(message, param="truncate_prompt_tokens")

        def encode(few: Sequence[str]) -> TokenBatch:
            found = self._tokenizer.encode(few, prompt=options.prompt)
            cuts.extend((found.lengths > limit).tolist())
            if found.lengths.max() <= limit:
                return found
            return TokenBatch.of([self._tokenizer.cut(ids, limit, side) for ids in found])

        return encode

    def _check(self, texts: TokenBatch, limit: int, field: str, *, more: bool = False) -> None:
        """What one request gives the worker. Raises BadRequest, InputTooLong."""
        lengths = texts.lengths.tolist()
        if not all(lengths):
            raise BadRequest(f"{field}[{lengths.index(0)}] has no tokens", param=field)
        if max(lengths) > limit:
            too_long = {index: length for index, length in enumerate(lengths) if length > limit}
            raise InputTooLong(too_long, limit=limit, field=field)
        self._refuse_ids_without_weights(texts, field)
        if self._backend is BackendName.VLLM and self._spec.padding is not None:
            _refuse_what_vllm_gets_wrong(texts, self._spec.padding, field)
        self.check_tokens(texts.tokens, field, more=more, one=len(lengths) == 1 and not more)

    def _refuse_ids_without_weights(self, texts: TokenBatch, field: str) -> None:
        """Tokens that were added to the tokenizer, where the model's embeddings were not resized."""
        if texts.ids.max() < self._spec.vocabulary:
            return
        for index, text in enumerate(texts):
            if (highest := int(text.max())) >= self._spec.vocabulary:
                message = (
                    f"{field}[{index}] has {self._tokenizer.name(highest)}, and the model's weights have rows for the "
                    f"ids below {self._spec.vocabulary} only: take it out of the text"
                )
                raise BadRequest(message, param=field)

    def _ids(self, many: Sequence[Sequence[int]], field: str) -> TokenBatch:
        """Raises BadRequest."""
        return TokenBatch.of([self._as_ids(field, index, ids) for index, ids in enumerate(many)])

    def _as_ids(self, field: str, index: int, ids: Sequence[int]) -> TokenIds:
        """Another tokenizer's ids would give a wrong vector; they rarely stand between our special tokens."""
        first, last = self._tokenizer.first, self._tokenizer.last
        problem = None
        if (highest := max(ids, default=0)) >= self._spec.vocabulary:
            problem = f"has a token id of {highest}, the model's are below {self._spec.vocabulary}"
        elif ids and not (list(ids[: len(first)]) == first and list(ids[len(ids) - len(last) :]) == last):
            problem = f"is not as this model's tokenizer has it: {first} before every text, {last} after"
        if problem is not None:
            raise BadRequest(f"{field}[{index}] {problem}: {_REMEDY}", param=field)
        return np.array(ids, dtype=np.int32)


async def _admit_more(admit: Admit, before: int, cut_to: int | None, more: int) -> None:
    """Admit `before` and `more` tokens, of which a text that is cut keeps `cut_to`."""
    await admit(before + (more if cut_to is None else min(more, cut_to)))


_REMEDY = "send texts, or ids of the model's own tokenizer (LangChain: check_embedding_ctx_length=False)"


def _refuse_what_vllm_gets_wrong(texts: TokenBatch, padding: int, field: str) -> None:
    """vLLM gives a padding inside of a text the next position; RoBERTa's own code gives it the padding's."""
    for index, text in enumerate(texts):
        if padding in text:
            message = f"{field}[{index}] has the model's padding token, which vLLM places otherwise than the model does"
            raise BadRequest(f"{message}: take it out, or serve with --backend=huggingface", param=field)


def _tokens(batch: TokenBatch) -> int:
    return batch.tokens


def _counted(found: Iterable[tuple[int, object]]) -> int:
    return sum(tokens for tokens, _ in found)


def _slices(texts: Sequence[Input]) -> Iterator[Sequence[Input]]:
    """As they come; each ends with the text that fills it, so that a longer one is always the last."""
    first = characters = 0
    size = SMALL
    for place, text in enumerate(texts, start=1):
        characters += _characters(text)
        if characters >= size or place == len(texts):
            yield texts[first:place]
            first, characters, size = place, 0, min(size * GROWTH, SLICE)


def _pieces(characters: int) -> Iterator[tuple[int, int]]:
    """Starts and stops, of sizes as those of `_slices`."""
    start, size = 0, SMALL
    while start < characters:
        yield start, start + size
        start, size = start + size, min(size * GROWTH, SLICE)


def _characters(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
