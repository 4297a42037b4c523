"""Tokens as TEI and vLLM write them, as JSON."""

import itertools
from array import array
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
from fastapi import Response

from embedding_runtime.frontend.pipeline.answers import json_of
from embedding_runtime.model.tokenizer import Token

__all__ = ["as_tei", "as_vllm", "join_tei", "join_vllm"]


Columns = tuple[npt.NDArray[np.int64], orjson.Fragment | None]
"""The ids and, if asked for, the texts of the tokens."""


def as_tei(tokens: Iterable[Token]) -> bytes:
    """A text's tokens as a list of TEI's objects."""
    return _written(map(_tei_token, tokens))


def join_tei(texts: list[bytes], _: int) -> Response:
    """The answer with what `as_tei` gave of each text."""
    return Response(_listed(texts), media_type="application/json")


def _tei_token(token: Token) -> dict[str, Any]:
    place = {"start": None, "stop": None} if token.special else {"start": token.start, "stop": token.stop}
    return {"id": token.id, "text": token.text, "special": token.special, **place}


def as_vllm(tokens: Iterable[Token], *, strings: bool) -> Columns:
    """A text's tokens as vLLM has them."""
    ids = array("q")

    def texts() -> Iterator[str]:
        for token in tokens:
            ids.append(token.id)
            yield token.text

    if strings:
        found = _written(texts())
        return np.array(ids), orjson.Fragment(found)
    return np.fromiter((token.id for token in tokens), np.int64), None


def join_vllm(texts: list[Columns], tokens: int, *, max_length: int) -> Response:
    """The answer with what `as_vllm` gave of the only text."""
    ((ids, strings),) = texts
    return json_of({"count": tokens, "max_model_len": max_length, "tokens": ids, "token_strs": strings})


def _written(items: Iterable[object]) -> bytes:
    """A list of them, some at a time: all take ten times as much, and so does each one: orjson begins with 1 KiB."""
    rest = iter(items)
    pieces = iter(lambda: orjson.dumps(list(itertools.islice(rest, _AT_ONCE)))[1:-1], b"")
    return _listed(list(pieces))


def _listed(pieces: list[bytes]) -> bytes:
    """A JSON list of them, in one block of its size: orjson's may be twice as large while it grows."""
    if not pieces:
        return b"[]"
    pieces[0] = b"[" + pieces[0]
    pieces[-1] += b"]"
    return b",".join(pieces)


_AT_ONCE = 1000
