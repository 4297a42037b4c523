"""Answers as JSON, written straight from the vectors."""

import asyncio
import base64
import functools
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import numpy as np
import orjson
from fastapi import Response

from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness, cast
from embedding_runtime.protocol.messages import VectorRows

__all__ = ["INT8_STEPS", "encoded", "flat", "json_of", "packed"]


def json_of(content: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """numpy's arrays become lists, in Rust."""
    body = orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY)
    return Response(body, status, headers, "application/json")


Written = TypeVar("Written")

_LARGE = 2**18
"""Numbers in an answer that is written beside the loop: above this they take more than ten milliseconds."""


async def encoded(
    rows: VectorRows, encoding: str, dtype: EmbedDtype = "float32", endianness: Endianness = "little"
) -> Any:
    """Something for each row that `json_of` takes: `encoding` is float, base64, int8, uint8, ubinary or binary.

    `dtype` and `endianness` are of base64. Of a large answer each row is written by itself, beside the loop: no call of
    orjson lets another thread run. Raises BadRequest for a number that the dtype cannot hold.
    """
    encode = _ENCODINGS.get(encoding) or functools.partial(_base64, dtype=dtype, endianness=endianness)
    return await _in_writer(lambda: _written(encode(rows))) if rows.size > _LARGE else encode(rows)


async def packed(rows: VectorRows, dtype: EmbedDtype = "float32", endianness: Endianness = "little") -> bytes:
    """All numbers one after the other, row by row, beside the loop where they are many. Raises BadRequest."""

    def write() -> bytes:
        return cast(rows, dtype, endianness).tobytes()

    return await _in_writer(write) if rows.size > _LARGE else write()


async def flat(rows: VectorRows) -> Any:
    """All numbers in one list, row by row; as `encoded` otherwise."""
    return await _in_writer(lambda: _written_flat(rows)) if rows.size > _LARGE else rows.ravel()


_WRITER = ThreadPoolExecutor(1, thread_name_prefix="answers")
"""Of large answers, one at a time: orjson holds the interpreter anyhow, and each thread would have a heap of its own,
which keeps what an answer took. With six threads, 60 answers that nobody read left 150 MB more.
"""


async def _in_writer(write: Callable[[], Written]) -> Written:
    return await asyncio.get_running_loop().run_in_executor(_WRITER, write)


def _written(each: Iterable[Any]) -> list[orjson.Fragment]:
    return [orjson.Fragment(orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY)) for one in each]


def _written_flat(rows: VectorRows) -> orjson.Fragment:
    lists = [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for row in rows]
    return orjson.Fragment(b"[" + b",".join(lists) + b"]")


def _base64(rows: VectorRows, dtype: EmbedDtype, endianness: Endianness) -> list[str]:
    return [base64.b64encode(row).decode() for row in cast(rows, dtype, endianness)]


INT8_STEPS = 127
"""int8 and uint8 have the fixed range [-1, 1], in which all numbers of a vector of length 1 are: n / INT8_STEPS."""


def _int8(rows: VectorRows) -> Any:
    return np.rint(rows * np.float32(INT8_STEPS)).clip(-INT8_STEPS, INT8_STEPS).astype(np.int8)


def _uint8(rows: VectorRows) -> Any:
    return (_int8(rows).astype(np.int16) + 128).astype(np.uint8)


def _bits(rows: VectorRows) -> Any:
    return np.packbits(rows > 0, axis=1)


_ENCODINGS: Mapping[str, Callable[[VectorRows], Any]] = {
    "float": lambda rows: rows,
    "int8": _int8,
    "uint8": _uint8,
    "ubinary": _bits,
    "binary": lambda rows: (_bits(rows).astype(np.int16) - 128).astype(np.int8),  # as sentence-transformers has it
}
"""(texts, dimensions) -> something for each text; orjson takes all of it."""
