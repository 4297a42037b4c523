"""Serializes responses to JSON directly from arrays."""

import asyncio
import base64
import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Any, TypeVar

import numpy as np
import orjson
from fastapi import Response
from starlette.types import Receive, Scope, Send

from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness, cast
from embedding_runtime.frontend.pipeline.options import unit_length
from embedding_runtime.protocol.rows import RaggedRows, VectorRows

__all__ = ["INT8_STEPS", "encoded", "flat", "json_of", "packed", "token_vectors", "weights"]


def json_of(content: Any, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    """A JSON response. orjson converts arrays to lists in Rust."""
    unwritten: list[_Unwritten] = []

    def leave_out(part: Any) -> orjson.Fragment:
        if not isinstance(part, _Unwritten):
            raise TypeError(f"{type(part).__name__} has no JSON")
        unwritten.append(part)
        return orjson.Fragment(_LEFT_OUT)

    body = orjson.dumps(content, leave_out, orjson.OPT_SERIALIZE_NUMPY)
    if unwritten:
        return _WrittenAsRead(body.split(_LEFT_OUT), unwritten, status, headers)
    return Response(body, status, headers, "application/json")


class _Unwritten:  # no dataclass: orjson would write its fields
    """A part of a huge response, which is written when the client has read what precedes it."""

    def __init__(self, write: Callable[[], bytes]) -> None:
        """Writes it once for its size, because not every client reads a response without a Content-Length."""
        self.write, self.size = write, len(write())


_LEFT_OUT = b"\0"
"""Stands for an unwritten part. JSON has it nowhere else."""


class _WrittenAsRead(Response):
    """A JSON response of which one part at a time is in memory."""

    def __init__(
        self, between: Sequence[bytes], parts: Sequence[_Unwritten], status: int, headers: Mapping[str, str] | None
    ) -> None:
        """`between`: what precedes each part, and what follows the last."""
        size = sum(map(len, between)) + sum(part.size for part in parts)
        super().__init__(None, status, {**(headers or {}), "content-length": str(size)}, "application/json")
        self._between, self._parts = between, parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 required by ASGI
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        *before, last = self._between
        for precedes, part in zip(before, self._parts, strict=True):
            content = precedes + await _in_writer(part.write)
            await send({"type": "http.response.body", "body": content, "more_body": True})
        await send({"type": "http.response.body", "body": last})


Written = TypeVar("Written")

_LARGE = 2**18
"""A response with more numbers is serialized in a thread, since it takes more than 10 ms."""


_HUGE = 2**21
"""With more numbers of token vectors, 23 MB of JSON, a response is written while the client reads it."""


async def encoded(
    rows: VectorRows, encoding: str, dtype: EmbedDtype = "float32", endianness: Endianness = "little"
) -> Any:
    """Encode each row for `json_of`: `encoding` is float, base64, int8, uint8, ubinary or binary.

    `dtype` and `endianness` apply to base64. The rows of a large response are serialized one by one in a thread,
    because orjson holds the GIL during a call. Raises BadRequest for a number that exceeds the range of the dtype.
    """
    encode = _ENCODINGS.get(encoding) or functools.partial(_base64, dtype=dtype, endianness=endianness)
    return await _in_writer(lambda: _written(encode(rows))) if rows.size > _LARGE else encode(rows)


async def packed(rows: VectorRows, dtype: EmbedDtype = "float32", endianness: Endianness = "little") -> bytes:
    """All rows as raw bytes, converted in a thread if they are many. Raises BadRequest."""

    def write() -> bytes:
        return cast(rows, dtype, endianness).tobytes()

    return await _in_writer(write) if rows.size > _LARGE else write()


async def flat(rows: VectorRows) -> Any:
    """All rows as one list, like `encoded`."""
    return await _in_writer(lambda: _written_flat(rows)) if rows.size > _LARGE else rows.ravel()


async def weights(rows: RaggedRows) -> Any:
    """Each sparse vector as a list of objects with index and value."""
    return await _in_writer_if_large(rows, lambda: list(map(_written_weights, rows)))


async def token_vectors(
    rows: RaggedRows,
    encoding: str = "float",
    dtype: EmbedDtype = "float32",
    endianness: Endianness = "little",
    *,
    normalize: bool = False,
) -> Any:
    """The vectors of each text's tokens: a list of them, or base64 of all of their numbers. See `encoded`."""

    def vectors(text: RaggedRows) -> VectorRows:
        return unit_length(text.values) if normalize else text.values

    def write() -> list[Any]:
        if encoding != "float":
            return [base64.b64encode(cast(vectors(text), dtype, endianness).tobytes()).decode() for text in rows]
        writes = [functools.partial(lambda text: _written_vectors(vectors(text)), text) for text in rows]
        if rows.values.size > _HUGE:
            return list(map(_Unwritten, writes))
        return [orjson.Fragment(write()) for write in writes]

    return await _in_writer_if_large(rows, write)


async def _in_writer_if_large(rows: RaggedRows, write: Callable[[], Written]) -> Written:
    return await _in_writer(write) if rows.values.size > _LARGE else write()


_WRITER = ThreadPoolExecutor(1, thread_name_prefix="answers")
"""One thread for large responses: orjson holds the GIL anyway, and the heap of each thread keeps its peak. With six
threads, 60 unread responses left 150 MB more.
"""


async def _in_writer(write: Callable[[], Written]) -> Written:
    return await asyncio.get_running_loop().run_in_executor(_WRITER, write)


def _written(each: Iterable[Any]) -> list[orjson.Fragment]:
    return [orjson.Fragment(orjson.dumps(one, option=orjson.OPT_SERIALIZE_NUMPY)) for one in each]


def _written_weights(text: RaggedRows) -> orjson.Fragment:
    """Without a Python object for each number."""
    if text.indices is None or not len(text.indices):
        return orjson.Fragment(b"[]")
    values = orjson.dumps(text.values.ravel(), option=orjson.OPT_SERIALIZE_NUMPY)[1:-1].split(b",")
    numbers = zip(text.indices.tolist(), values, strict=True)
    return orjson.Fragment(b"[" + b",".join(b'{"index":%d,"value":%b}' % number for number in numbers) + b"]")


def _written_vectors(rows: VectorRows) -> bytes:
    vectors = (orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY) for row in rows)
    return b"[" + b",".join(vectors) + b"]"


def _written_flat(rows: VectorRows) -> orjson.Fragment:
    lists = [orjson.dumps(row, option=orjson.OPT_SERIALIZE_NUMPY)[1:-1] for row in rows]
    return orjson.Fragment(b"[" + b",".join(lists) + b"]")


def _base64(rows: VectorRows, dtype: EmbedDtype, endianness: Endianness) -> list[str]:
    return [base64.b64encode(row).decode() for row in cast(rows, dtype, endianness)]


INT8_STEPS = 127
"""int8 and uint8 cover the range [-1, 1] in steps of 1 / INT8_STEPS."""


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
    "binary": lambda rows: (_bits(rows).astype(np.int16) - 128).astype(np.int8),  # as in sentence-transformers
}
"""(texts, dimensions) -> an item for each text that orjson can serialize."""
