"""Tokenizes and decodes for the routes of tokens.

Ten of these tokens count as one for an API key with a limit, because they use the frontend only.
"""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from typing import TypeVar

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.pipeline.computing import reserve, run_large, while_wanted
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.frontend.pipeline.token_budget import SLICE
from embedding_runtime.model.tokenizer import Token

__all__ = ["decode", "tokenize"]

Written = TypeVar("Written")
Answer = TypeVar("Answer")

TOKENS_PER_CHARGED = 10

BYTES_PER_TOKEN = 72
"""Bytes of a token in a response: the JSON of TEI's object of a short token."""

_SPECIAL = 4
"""Maximum number of special tokens of a text."""

_FEW = 10_000
"""Up to this many tokens are decoded in any thread, more in the thread for large work."""


async def tokenize(
    service: Service,
    context: RequestContext,
    texts: Sequence[str],
    write: Callable[[Iterable[Token]], Written],
    join: Callable[[list[Written], int], Answer],
    *,
    special: bool,
    field: str,
) -> Answer:
    """Tokenize texts without a prompt: `write` serializes the tokens of a text, `join` the results and their number.

    `write` is called in a thread. It may use BYTES_PER_TOKEN per token, and `join` as much again. Raises BadRequest,
    RateLimited, Overloaded, ClientGone, DeadlinePassed.
    """

    async def admit(tokens: int) -> None:
        await service.engine.check_budget(context.principal, tokens // TOKENS_PER_CHARGED)

    async def work() -> Answer:
        service.tokenization.budget.check_number(texts, field)
        characters = sum(map(len, texts))
        most = min(characters + _SPECIAL * len(texts), service.limits.max_request_tokens)
        # Reserve before tokenization, because its result is many times as large as the texts. End the turn before,
        # because waiting for memory must not block other large bodies.
        context.tokenized()
        await reserve(context, 2 * BYTES_PER_TOKEN * most)
        async with service.tokenization.listing if characters > SLICE else nullcontext():
            found, tokens = await service.tokenization.tokens(texts, write, special=special, field=field, admit=admit)
            answer = join(found, tokens)
        await _charge(service, context, tokens)
        return answer

    return await while_wanted(context, work)


async def decode(
    service: Service, context: RequestContext, texts: Sequence[Sequence[int]], *, skip_special: bool, field: str
) -> list[str]:
    """The text of each list of token ids. Raises as `tokenize` does."""
    service.tokenization.budget.check_number(texts, field)
    tokens = sum(map(len, texts))
    service.tokenization.budget.check_tokens(tokens, field, one=len(texts) == 1)
    await _charge(service, context, tokens)
    work = partial(service.tokenizer.decode, texts, skip_special_tokens=skip_special)

    async def decoded() -> list[str]:
        found = await (asyncio.to_thread(work) if tokens <= _FEW else run_large(work))
        size = sum(map(len, found))
        await reserve(context, 3 * size, holding=size)
        return found

    try:
        return await while_wanted(context, decoded)
    except ValueError as error:
        raise BadRequest(f"{field}: {error}", param=field) from error


async def _charge(service: Service, context: RequestContext, tokens: int) -> None:
    context.tokens += tokens
    await service.engine.charge(context.principal, -(-tokens // TOKENS_PER_CHARGED))
