"""Texts to tokens and back, without computing anything."""

from collections.abc import Sequence

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.pipeline.service import Service
from embedding_runtime.model.tokenizer import Token

__all__ = ["decode", "tokenize"]


async def tokenize(service: Service, texts: Sequence[str], *, special: bool, field: str) -> list[list[Token]]:
    """The tokens of each text as it stands, without a prompt. Raises BadRequest."""
    service.check_number(texts, field)

    def work() -> list[list[Token]]:
        return service.sliced(texts, lambda few: service.tokenizer.tokens(few, special=special), field=field)

    found = await service.in_turn(sum(map(len, texts)), work)
    service.check_tokens(sum(map(len, found)), field, more=len(found) < len(texts), one=len(texts) == 1)
    return found


async def decode(service: Service, texts: Sequence[Sequence[int]], *, skip_special: bool, field: str) -> list[str]:
    """The text of each list of token ids. Raises BadRequest."""
    service.check_number(texts, field)
    tokens = sum(map(len, texts))
    service.check_tokens(tokens, field, one=len(texts) == 1)
    try:
        return await service.in_turn(tokens, lambda: service.tokenizer.decode(texts, skip_special_tokens=skip_special))
    except ValueError as error:
        raise BadRequest(f"{field}: {error}", param=field) from error
