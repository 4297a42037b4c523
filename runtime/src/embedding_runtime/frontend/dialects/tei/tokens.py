"""Serializes tokens as JSON, in the formats of TEI and vLLM."""

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
"""The ids of the tokens, and their texts if requested."""


def as_tei(tokens: Iterable[Token]) -> bytes:
    """Write the tokens of a text as a list of TEI's objects."""
    return _written(map(_tei_token, tokens))


def join_tei(texts: list[bytes], _: int) -> Response:
    """The response, from the results of `as_tei`."""
    return Response(_listed(texts), media_type="application/json")


def _tei_token(token: Token) -> dict[str, Any]:
    place = {"start": None, "stop": None} if token.special else {"start": token.start, "stop": token.stop}
    return {"id": token.id, "text": token.text, "special": token.special, **place}


def as_vllm(tokens: Iterable[Token], *, strings: bool) -> Columns:
    """Write the tokens of a text in vLLM's format. `strings`: with their texts."""
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
    """The response, from the result of `as_vllm` for the only text."""
    ((ids, strings),) = texts
    return json_of({"count": tokens, "max_model_len": max_length, "tokens": ids, "token_strs": strings})


def _written(items: Iterable[object]) -> bytes:
    """Write a JSON list in chunks.

    All objects at once take ten times the memory of their JSON. So do single ones, as orjson allocates 1 KiB for each.
    """
    rest = iter(items)
    pieces = iter(lambda: orjson.dumps(list(itertools.islice(rest, _CHUNK)))[1:-1], b"")
    return _listed(list(pieces))


def _listed(pieces: list[bytes]) -> bytes:
    """Join to a JSON list, in one block of its size: orjson's growing one may be twice as large."""
    if not pieces:
        return b"[]"
    pieces[0] = b"[" + pieces[0]
    pieces[-1] += b"]"
    return b",".join(pieces)


_CHUNK = 1000
"""Items per chunk."""
