"""Tokenizes and decodes for the routes of tokens.

Ten of these tokens count as one for an API key with a limit, because they use the frontend only.
"""

import asyncio
from collections.abc import Sequence
from functools import partial

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.pipeline.computing import run_large, while_wanted
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model.tokenizer import Token

__all__ = ["decode", "tokenize"]

TOKENS_PER_CHARGED = 10

_FEW = 10_000
"""Up to this many tokens are decoded in any thread, more in the thread for large work."""


async def tokenize(
    service: Service, context: RequestContext, texts: Sequence[str], *, special: bool, field: str
) -> list[list[Token]]:
    """The tokens of each text, without a prompt.

    Raises BadRequest, RateLimited, ClientGone, DeadlinePassed.
    """

    async def admit(tokens: int) -> None:
        await service.engine.check_budget(context.principal, tokens // TOKENS_PER_CHARGED)

    found = await while_wanted(
        context, lambda: service.tokenization.tokens(texts, special=special, field=field, admit=admit)
    )
    await _charge(service, context, sum(map(len, found)))
    return found


async def decode(
    service: Service, context: RequestContext, texts: Sequence[Sequence[int]], *, skip_special: bool, field: str
) -> list[str]:
    """The text of each list of token ids. Raises as `tokenize` does."""
    service.tokenization.check_number(texts, field)
    tokens = sum(map(len, texts))
    service.tokenization.check_tokens(tokens, field, one=len(texts) == 1)
    await _charge(service, context, tokens)
    work = partial(service.tokenizer.decode, texts, skip_special_tokens=skip_special)
    try:
        return await while_wanted(context, lambda: asyncio.to_thread(work) if tokens <= _FEW else run_large(work))
    except ValueError as error:
        raise BadRequest(f"{field}: {error}", param=field) from error


async def _charge(service: Service, context: RequestContext, tokens: int) -> None:
    context.tokens += tokens
    await service.engine.charge(context.principal, -(-tokens // TOKENS_PER_CHARGED))
