"""Keeps the tokenization of a request within its limits: texts are encoded in slices.

Between two slices a request can be cancelled: the client has disconnected, the deadline has passed, or it has too many
tokens. At most one slice of work is wasted.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import TypeVar

from embedding_runtime.errors import BadRequest, RequestTooLarge
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.pipeline.computing import run_large
from embedding_runtime.model.tokenizer import TextTokenizer

__all__ = ["SLICE", "Admit", "TokenBudget", "admit_any"]

Input = TypeVar("Input", bound=str | tuple[str, str])
Encoded = TypeVar("Encoded")

Admit = Callable[[int], Awaitable[None]]
"""Called with the tokens counted so far. Raises an exception to reject the request."""

SMALL = 1024
"""Up to this many characters are tokenized on the event loop: 0.3 ms, less than a thread switch on busy cores."""

SLICE = 1 << 16
"""Characters of a slice: at most 30 MB of objects in tokenizers, if each character is a token."""

CHARACTERS_PER_TOKEN = 2
"""A text with more characters per --max_request_tokens is rejected without tokenization.

A tokenizer needs 100 bytes per character, and no model accepts a quarter of such a text.
"""

GROWTH = 4
"""Growth of slices up to SLICE. The first ones are small, so that rejecting a request costs little."""


async def admit_any(_: int) -> None:
    """An Admit that accepts everything."""


class TokenBudget:
    """The limits of a request for a tokenizer."""

    def __init__(self, tokenizer: TextTokenizer, limits: Limits) -> None:
        self._tokenizer, self._limits = tokenizer, limits

    def check_number(self, texts: Sequence[object], field: str) -> None:
        """Check the number of texts or pairs of a request. Raises BadRequest."""
        if not texts:
            raise BadRequest(f"{field} is an empty list: send at least one text", param=field)
        if len(texts) > self._limits.max_inputs:
            most = f"the maximum is {self._limits.max_inputs} (--max_inputs)"
            raise RequestTooLarge(f"{field} has {len(texts)} texts; {most}: send several requests", param=field)

    def check_tokens(self, tokens: int, field: str, *, more: bool = False, one: bool = False) -> None:
        """Check the tokens of a request. `more`: not all are counted. `one`: of a single text. Raises BadRequest."""
        if tokens > self._limits.max_request_tokens:
            most = f"the maximum is {self._limits.max_request_tokens} (--max_request_tokens)"
            has = f"at least {tokens} tokens" if more else f"{tokens} tokens"
            remedy = "split or shorten the text" if one else "send several requests"
            raise RequestTooLarge(f"{field} has {has}; {most}: {remedy}", param=field)

    async def in_slices(
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
        """Encode texts in slices, and stop when a request has too many tokens: the result then has fewer texts.

        `size`: number of tokens of an encoded slice. `cut_to`: maximum tokens that `encode` keeps of a text. `run`:
        runs `encode` if there is only one slice. Raises BadRequest for a text that is much too long.
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
                await self._reject_huge(few[-1], field, partial(_admit_more, admit, tokens, cut_to))
            found.append(await run_large(partial(encode, few)))
            tokens += size(found[-1])
            if tokens > self._limits.max_request_tokens:
                break
            await admit(tokens)
        return found

    async def _reject_huge(self, text: str | tuple[str, str], field: str, admit: Admit) -> None:
        """Reject a huge text by counting tokens in pieces. Splitting adds tokens, so it admits half of the count."""
        if (characters := _characters(text)) > (limit := CHARACTERS_PER_TOKEN * self._limits.max_request_tokens):
            maximum = f"the maximum is {limit} ({CHARACTERS_PER_TOKEN} for each of --max_request_tokens)"
            raise RequestTooLarge(
                f"{field} has a text of {characters} characters; {maximum}: split or shorten it", param=field
            )
        most, tokens = 2 * self._limits.max_request_tokens, 0
        for part in [text] if isinstance(text, str) else text:
            for start, stop in _pieces(len(part)):
                tokens += await run_large(partial(self._tokenizer.count, part[start:stop]))
                if tokens > most:
                    self.check_tokens(tokens, field, more=True, one=True)
                await admit(tokens // 2)


async def _admit_more(admit: Admit, before: int, cut_to: int | None, more: int) -> None:
    """Admit `before` plus `more` tokens, of which a truncated text keeps at most `cut_to`."""
    await admit(before + (more if cut_to is None else min(more, cut_to)))


def _slices(texts: Sequence[Input]) -> Iterator[Sequence[Input]]:
    """Slices of texts in order. Each ends with the text that fills it, so that a huge text is the last of its slice."""
    first = characters = 0
    size = SMALL
    for place, text in enumerate(texts, start=1):
        characters += _characters(text)
        if characters >= size or place == len(texts):
            yield texts[first:place]
            first, characters, size = place, 0, min(size * GROWTH, SLICE)


def _pieces(characters: int) -> Iterator[tuple[int, int]]:
    """Ranges of a text, of the same sizes as slices."""
    start, size = 0, SMALL
    while start < characters:
        yield start, start + size
        start, size = start + size, min(size * GROWTH, SLICE)


def _characters(text: str | tuple[str, str]) -> int:
    return len(text) if isinstance(text, str) else sum(map(len, text))
