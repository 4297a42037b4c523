"""What passes between the front and the worker: frames over a socket, numbers as they lie in memory.

A frame is a header (kind, bytes of body; little-endian) and a body. Front to worker: `Work`. Worker to front: `Ready`
once, then `Vectors` or `Failed` for each `Work`; or `Broken`, and the worker ends. The end of the stream means the
other is gone.
"""

import asyncio
import itertools
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from enum import IntEnum
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

__all__ = [
    "SECOND",
    "Broken",
    "Failed",
    "Message",
    "Ready",
    "TokenIds",
    "VectorRows",
    "Vectors",
    "Work",
    "pack",
    "receive",
    "receive_sync",
]

TokenIds = npt.NDArray[np.int32]
"""Shape (tokens,). Of a pair of texts, the ids with token type 1 (the second text's, mostly) have SECOND added."""

SECOND = np.int32(1 << 30)
"""A bit that no token's id has: the largest vocabularies are of a million."""

VectorRows = npt.NDArray[np.float32]
"""Shape (texts, dimensions); for a cross-encoder (pairs, labels)."""


@dataclass(frozen=True, eq=False)
class Work:
    """One batch. Whole ones are computed in the order they come, halves two at a time."""

    batch: int
    texts: Sequence[TokenIds]
    whole: bool = True
    """It has the whole machine, and nothing else is computed; else half of it, and another batch may be beside."""


@dataclass(frozen=True)
class Ready:
    """The worker is loaded, warm and proven."""

    detail: str
    """How it computes, for the log."""
    halves: bool
    """Whether it computes two batches at once, with half of the machine each."""
    batch_tokens: int
    """How many tokens of several texts a batch should have at most."""
    tokens_per_second: float | None = None
    """How fast a full batch was computed at warm-up."""
    cosine: float | None = None
    """Lowest cosine to float32 that was measured at start; None: there was nothing to measure."""


@dataclass(frozen=True, eq=False)
class Vectors:
    """The answer to the Work of the same number: a row a text, in its order."""

    batch: int
    rows: VectorRows
    padding: int = 0
    """Places that were computed beside the texts' tokens, to make rows of one length."""


@dataclass(frozen=True)
class Failed:
    """The other answer to a Work: some text in it cannot be computed; the worker goes on."""

    batch: int


@dataclass(frozen=True)
class Broken:
    """The worker cannot serve, or cannot go on; in words for whoever has to mend it."""

    message: str


Message = Work | Ready | Vectors | Failed | Broken


class _Kind(IntEnum):
    WORK = 1
    READY = 2
    VECTORS = 3
    BROKEN = 4
    FAILED = 5


_HEADER = struct.Struct("<IQ")  # kind, bytes of body
_WORK = struct.Struct("<QI?3x")  # batch, texts, whole; then their lengths as u32, then all ids as i32
_VECTORS = struct.Struct("<QIII")  # batch, padding, rows, columns; then float32, row by row
_FAILED = struct.Struct("<Q")  # batch


def pack(message: Message) -> bytes:
    """The whole frame."""
    match message:
        case Work(batch, texts, whole):
            lengths = np.array([len(text) for text in texts], dtype="<u4")
            ids = np.concatenate(texts).astype("<i4", copy=False)
            return _frame(_Kind.WORK, _WORK.pack(batch, len(texts), whole), lengths.tobytes(), ids.tobytes())
        case Vectors(batch, rows, padding):
            numbers = rows.astype("<f4", copy=False).tobytes()
            return _frame(_Kind.VECTORS, _VECTORS.pack(batch, padding, *rows.shape), numbers)
        case Failed(batch):
            return _frame(_Kind.FAILED, _FAILED.pack(batch))
        case Ready():
            return _frame(_Kind.READY, json.dumps(asdict(message)).encode())
        case Broken(text):
            return _frame(_Kind.BROKEN, json.dumps(text).encode())


async def receive(stream: asyncio.StreamReader) -> Message | None:
    """The next message; None when the other end is gone, in the middle of a frame or between two."""
    try:
        kind, size = _HEADER.unpack(await stream.readexactly(_HEADER.size))
        return _unpack(_Kind(kind), await stream.readexactly(size))
    except (asyncio.IncompleteReadError, ConnectionError):
        return None


def receive_sync(stream: BinaryIO) -> Message | None:
    """As `receive`, waiting in the calling thread."""
    try:
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            return None
        kind, size = _HEADER.unpack(header)
        body = stream.read(size)
    except ConnectionError:
        return None
    return _unpack(_Kind(kind), body) if len(body) == size else None


def _frame(kind: _Kind, *parts: bytes) -> bytes:
    return b"".join((_HEADER.pack(kind, sum(map(len, parts))), *parts))


def _unpack(kind: _Kind, body: bytes) -> Message:
    match kind:
        case _Kind.WORK:
            batch, texts, whole = _WORK.unpack_from(body)
            lengths = np.frombuffer(body, "<u4", texts, _WORK.size)
            ids = np.frombuffer(body, "<i4", offset=_WORK.size + lengths.nbytes)
            places = itertools.accumulate(lengths.tolist(), initial=0)
            return Work(batch, [ids[start:stop] for start, stop in itertools.pairwise(places)], whole)
        case _Kind.VECTORS:
            batch, padding, rows, columns = _VECTORS.unpack_from(body)
            return Vectors(batch, np.frombuffer(body, "<f4", offset=_VECTORS.size).reshape(rows, columns), padding)
        case _Kind.FAILED:
            return Failed(*_FAILED.unpack(body))
        case _Kind.READY:
            return Ready(**json.loads(body))
        case _Kind.BROKEN:
            return Broken(json.loads(body))
