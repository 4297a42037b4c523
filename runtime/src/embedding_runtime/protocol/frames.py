"""Serialization of messages to frames on a stream socket. Arrays are sent as they are in memory.

A frame is a header (kind and size of the body; little-endian) and a body.
"""

import itertools
import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedding_runtime.protocol.messages import (
    Broken,
    Cancel,
    Charge,
    Check,
    Collect,
    Failed,
    Fault,
    Granted,
    LoadedModel,
    Message,
    Ready,
    RequestRows,
    Samples,
    Scrape,
    Scraped,
    Serving,
    StateChange,
    Stop,
    Submit,
    Vectors,
    Work,
)
from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import RaggedRows, Rows, VectorRows, parts_of, together
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = ["HEADER", "Frame", "pack", "receive_sync", "unpack"]

Frame = list[bytes | memoryview]
"""A message as a list of buffers to send in order. Arrays are not copied."""

HEADER = struct.Struct("<IQ")  # kind, bytes of body
_WORK = struct.Struct("<QI??Bx")  # batch, texts, exclusive, has types, output; then the texts
_VECTORS = struct.Struct("<QII")  # batch, padding, number of outputs; then the rows of each
# request, seconds, tokens per minute, texts, bytes of name, has types, lane, output; then the name and the texts
_SUBMIT = struct.Struct("<QdqII?BB5x")
_ANSWER = struct.Struct("<QdqqdI")  # request, queue seconds, rate limit, number of outputs; then the rows of each
# texts, columns, is ragged, has indices; then lengths and indices, if it has them, and float32, row by row
_ROWS = struct.Struct("<II??2x")
_LANES = tuple(Lane)
_UNLIMITED = -1
"""Tokens per minute of a principal without a limit."""


def pack(message: Message) -> Frame:
    """Serialize a message."""
    match message:
        case Work(batch, texts, exclusive, output):
            has_types = texts.types is not None
            head = _WORK.pack(batch, len(texts), exclusive, has_types, output.value)
            return _frame(message, head, *_of(texts))
        case Vectors(batch, rows, padding):
            return _rows_frame(message, _VECTORS.pack(batch, padding, len(parts_of(rows))), rows)
        case Submit(request, texts, principal, lane, seconds, output):
            name, limit = principal.name.encode(), principal.tokens_per_minute
            head = _SUBMIT.pack(
                *(request, seconds, _UNLIMITED if limit is None else limit),
                *(len(texts), len(name), texts.types is not None, _LANES.index(lane), output.value),
            )
            return _frame(message, head + name, *_of(texts))
        case RequestRows(request, rows, queue_seconds, limit):
            numbers = (_UNLIMITED, 0, 0.0) if limit is None else (limit.per_minute, limit.remaining, limit.full_in)
            return _rows_frame(message, _ANSWER.pack(request, queue_seconds, *numbers, len(parts_of(rows))), rows)
        case _:
            return _frame(message, json.dumps(asdict(message)).encode())


def unpack(kind: int, body: memoryview) -> Message:
    """Parse a frame. Arrays are views of `body`. Raises ValueError for an unknown kind."""
    try:
        of_kind = _UNPACK[kind]
    except LookupError:
        raise ValueError(f"unknown kind of message: {kind}") from None
    return of_kind(body)


class Readable(Protocol):
    """A binary file."""

    def read(self, size: int, /) -> bytes | None: ...


def receive_sync(stream: Readable) -> Message | None:
    """Block until the next message. None if the peer has closed the stream, even within a frame."""
    try:
        header = stream.read(HEADER.size) or b""
        if len(header) < HEADER.size:
            return None
        kind, size = HEADER.unpack(header)
        body = stream.read(size) or b""
    except ConnectionError:
        return None
    return unpack(kind, memoryview(body)) if len(body) == size else None


def _frame(message: Message, *parts: bytes | memoryview) -> Frame:
    head = HEADER.pack(_KINDS[type(message)], sum(len(part) for part in parts))
    return [head + parts[0], *parts[1:]]


def _of(texts: TokenBatch) -> Sequence[memoryview]:
    types = () if texts.types is None else (_bytes(texts.types, "u1"),)
    return _bytes(texts.lengths, "<u4"), _bytes(texts.ids, "<i4"), *types


def _rows_frame(message: Message, head: bytes, rows: Rows) -> Frame:
    (first, *data), *others = map(_of_rows, parts_of(rows))
    return _frame(message, head + first, *data, *itertools.chain.from_iterable(others))


def _of_rows(rows: VectorRows | RaggedRows) -> Frame:
    if not isinstance(rows, RaggedRows):
        return [_ROWS.pack(*rows.shape, 0, 0), _bytes(rows, "<f4")]
    indices = () if rows.indices is None else (_bytes(rows.indices, "<i4"),)
    head = _ROWS.pack(len(rows), rows.values.shape[1], 1, len(indices))
    return [head, _bytes(rows.lengths, "<u4"), *indices, _bytes(rows.values, "<f4")]


def _bytes(array: npt.NDArray[Any], kind: str) -> memoryview:
    """The memory of an array, without a copy if it is contiguous and of this type."""
    return memoryview(np.ascontiguousarray(array, kind).reshape(-1).view(np.uint8))  # type: ignore[arg-type] # a buffer


def _texts(body: memoryview, offset: int, texts: int, *, has_types: bool) -> TokenBatch:
    lengths = np.frombuffer(body, "<u4", texts, offset)
    offset += lengths.nbytes
    tokens = (len(body) - offset) // (5 if has_types else 4)
    ids = np.frombuffer(body, "<i4", tokens, offset)
    types = np.frombuffer(body, "u1", offset=offset + ids.nbytes) if has_types else None
    return TokenBatch(ids, lengths, types)


def _rows(body: memoryview, offset: int, outputs: int) -> Rows:
    parts = []
    for _ in range(outputs):
        part, offset = _part(body, offset)
        parts.append(part)
    return together(parts)


def _part(body: memoryview, offset: int) -> tuple[VectorRows | RaggedRows, int]:
    """The rows of one output, and their end."""
    texts, columns, is_ragged, has_indices = _ROWS.unpack_from(body, offset)
    offset += _ROWS.size
    if not is_ragged:
        rows = np.frombuffer(body, "<f4", texts * columns, offset).reshape(texts, columns)
        return rows, offset + rows.nbytes
    lengths = np.frombuffer(body, "<u4", texts, offset)
    offset += lengths.nbytes
    items, indices = int(lengths.sum()), None
    if has_indices:
        indices = np.frombuffer(body, "<i4", items, offset)
        offset += indices.nbytes
    values = np.frombuffer(body, "<f4", items * columns, offset).reshape(items, columns)
    return RaggedRows(values, lengths, indices), offset + values.nbytes


def _work(body: memoryview) -> Work:
    batch, texts, exclusive, has_types, output = _WORK.unpack_from(body)
    return Work(batch, _texts(body, _WORK.size, texts, has_types=has_types), exclusive, Output(output))


def _vectors(body: memoryview) -> Vectors:
    batch, padding, outputs = _VECTORS.unpack_from(body)
    return Vectors(batch, _rows(body, _VECTORS.size, outputs), padding)


def _submit(body: memoryview) -> Submit:
    request, seconds, limit, texts, size, has_types, lane, output = _SUBMIT.unpack_from(body)
    start = _SUBMIT.size + size
    name = str(body[_SUBMIT.size : start], "utf-8")
    principal = Principal(name, None if limit == _UNLIMITED else limit)
    batch = _texts(body, start, texts, has_types=has_types)
    return Submit(request, batch, principal, _LANES[lane], seconds, Output(output))


def _answer(body: memoryview) -> RequestRows:
    request, queue_seconds, per_minute, remaining, full_in, outputs = _ANSWER.unpack_from(body)
    limit = None if per_minute == _UNLIMITED else RateLimit(per_minute, remaining, full_in)
    return RequestRows(request, _rows(body, _ANSWER.size, outputs), queue_seconds, limit)


def _of_json(kind: type[Any]) -> Callable[[memoryview], Any]:
    """A parser of messages that are sent as JSON: those that are rare or contain text."""
    makes = {field.name: _FROM_JSON[field.name] for field in fields(kind) if field.name in _FROM_JSON}

    def of(body: memoryview) -> Any:
        given = json.loads(bytes(body))
        for name, make in makes.items():
            given[name] = None if given[name] is None else make(given[name])
        return kind(**given)

    return of


_FROM_JSON: Mapping[str, Callable[[Any], Any]] = {
    "lane": Lane,
    "model": lambda given: LoadedModel(**given),
    "principal": lambda given: Principal(**given),
    "rate_limit": lambda given: RateLimit(**given),
}

_UNPACK: Mapping[int, Callable[[memoryview], Message]]
_KINDS: Mapping[type[Any], int]
_IN_BINARY: Mapping[type[Any], Callable[[memoryview], Message]] = {
    Work: _work,
    Vectors: _vectors,
    Submit: _submit,
    RequestRows: _answer,
}
_IN_JSON = (
    *(Ready, Failed, Broken, Serving, Check, Charge, Cancel, Granted, Fault),
    *(StateChange, Collect, Samples, Scrape, Scraped, Stop),
)
_KINDS = {kind: number for number, kind in enumerate([*_IN_BINARY, *_IN_JSON], start=1)}
_UNPACK = {_KINDS[kind]: _IN_BINARY.get(kind) or _of_json(kind) for kind in _KINDS}
