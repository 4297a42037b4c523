"""Messages between the processes of a server: frames over a stream socket, arrays as they lie in memory.

A frame is a header (kind, bytes of body; little-endian) and a body. The end of the stream means that the peer is gone.

    scheduler -> worker     Work
    worker -> scheduler     Ready once, then Vectors or Failed for each Work; or Broken, and the worker ends
    frontend -> scheduler   Serving once, then Submit, Cancel, Check, Charge, Scrape; Samples for each Collect
    scheduler -> frontend   StateChange, Rows, Granted or Fault for each request, Collect, Scraped for each Scrape, Stop
"""

import json
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from embedding_runtime.protocol.requests import Lane, Principal, RateLimit
from embedding_runtime.protocol.token_batch import TokenBatch

__all__ = [
    "HEADER",
    "Broken",
    "Cancel",
    "Charge",
    "Check",
    "Collect",
    "Failed",
    "Fault",
    "Frame",
    "Granted",
    "Message",
    "Ready",
    "Rows",
    "Samples",
    "Scrape",
    "Scraped",
    "Serving",
    "StateChange",
    "Stop",
    "Submit",
    "VectorRows",
    "Vectors",
    "Work",
    "pack",
    "receive_sync",
    "unpack",
]

VectorRows = npt.NDArray[np.float32]
"""Shape (texts, dimensions); for a cross-encoder (pairs, labels)."""

Frame = list[bytes | memoryview]
"""A message as buffers to be sent one after the other. Arrays are not copied."""


@dataclass(frozen=True, eq=False)
class Work:
    """One batch. Exclusive ones are computed in the order they come, concurrent ones two at a time."""

    batch: int
    texts: TokenBatch
    exclusive: bool = True
    """It has all cores of the worker, and nothing else is computed; else half of them, beside another batch."""


@dataclass(frozen=True)
class Ready:
    """The worker is loaded and warm, and has passed its self test."""

    detail: str
    """How it computes, for the log."""
    concurrent: bool
    """Whether it computes two batches at once, with half of its cores each."""
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
    """The worker cannot serve, or cannot go on: the reason."""

    message: str


@dataclass(frozen=True)
class Serving:
    """The frontend takes connections."""


@dataclass(frozen=True, eq=False)
class Submit:
    """A request for rows. `seconds`: how long the client waits, at most."""

    request: int
    texts: TokenBatch
    principal: Principal
    lane: Lane
    seconds: float


@dataclass(frozen=True)
class Check:
    """Asks whether so many texts and tokens, or more, would be taken now."""

    request: int
    texts: int
    tokens: int
    principal: Principal
    lane: Lane | None
    seconds: float


@dataclass(frozen=True)
class Charge:
    """Takes tokens that are not computed from a principal's budget, or asks whether it has so many."""

    request: int
    principal: Principal
    tokens: int
    only_checks: bool


@dataclass(frozen=True)
class Cancel:
    """The client of a Submit is gone, or out of time."""

    request: int


@dataclass(frozen=True)
class Granted:
    """The answer to a Check or a Charge."""

    request: int
    rate_limit: RateLimit | None


@dataclass(frozen=True, eq=False)
class Rows:
    """The answer to the Submit of the same number: a row a text."""

    request: int
    rows: VectorRows
    queue_seconds: float
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class Fault:
    """The other answer to a Submit, Check or Charge: the class of a RuntimeFault, its message, and its attributes."""

    request: int
    name: str
    message: str
    attributes: Mapping[str, Any]
    rate_limit: RateLimit | None


@dataclass(frozen=True)
class StateChange:
    """What the scheduler can do, by the name of its State, and why."""

    state: str
    reason: str
    cosine: float | None
    """As in Ready."""


@dataclass(frozen=True)
class Collect:
    """Asks a frontend for its own samples."""

    scrape: int


@dataclass(frozen=True)
class Samples:
    """The answer to the Collect of the same number: a process's metrics, as `observability.gather` has them."""

    scrape: int
    families: Sequence[Any]


@dataclass(frozen=True)
class Scrape:
    """Asks for the metrics of the whole server."""

    request: int


@dataclass(frozen=True)
class Scraped:
    """The answer to the Scrape of the same number."""

    request: int
    families: Sequence[Any]


@dataclass(frozen=True)
class Stop:
    """Answer what is under way, take no new connections, and end; `now`: without answers."""

    now: bool


Message = (
    Work | Ready | Vectors | Failed | Broken
    | Serving | Submit | Check | Charge | Cancel | Rows | Granted | Fault
    | StateChange | Collect | Samples | Scrape | Scraped | Stop
)  # fmt: skip

HEADER = struct.Struct("<IQ")  # kind, bytes of body
_WORK = struct.Struct("<QI??2x")  # batch, texts, exclusive, has types; then the texts
_VECTORS = struct.Struct("<QIII")  # batch, padding, rows, columns; then float32, row by row
# request, seconds, tokens per minute, texts, bytes of name, has types, lane; then the name and the texts
_SUBMIT = struct.Struct("<QdqII?B6x")
_ROWS = struct.Struct("<QdqqdII")  # request, queue seconds, rate limit, rows, columns; then float32, row by row
_LANES = tuple(Lane)
_UNLIMITED = -1
"""Tokens a minute of a principal without a limit."""


def pack(message: Message) -> Frame:
    """The whole frame."""
    match message:
        case Work(batch, texts, exclusive):
            return _frame(message, _WORK.pack(batch, len(texts), exclusive, texts.types is not None), *_of(texts))
        case Vectors(batch, rows, padding):
            return _frame(message, _VECTORS.pack(batch, padding, *rows.shape), _bytes(rows, "<f4"))
        case Submit(request, texts, principal, lane, seconds):
            name, limit = principal.name.encode(), principal.tokens_per_minute
            head = _SUBMIT.pack(
                *(request, seconds, _UNLIMITED if limit is None else limit),
                *(len(texts), len(name), texts.types is not None, _LANES.index(lane)),
            )
            return _frame(message, head + name, *_of(texts))
        case Rows(request, rows, queue_seconds, limit):
            numbers = (_UNLIMITED, 0, 0.0) if limit is None else (limit.per_minute, limit.remaining, limit.full_in)
            return _frame(message, _ROWS.pack(request, queue_seconds, *numbers, *rows.shape), _bytes(rows, "<f4"))
        case _:
            return _frame(message, json.dumps(asdict(message)).encode())


def unpack(kind: int, body: memoryview) -> Message:
    """The message of a frame. Arrays are views of `body`. Raises ValueError for a frame of another protocol."""
    try:
        of_kind = _UNPACK[kind]
    except LookupError:
        raise ValueError(f"there is no message of kind {kind}") from None
    return of_kind(body)


class Readable(Protocol):
    """A binary file."""

    def read(self, size: int, /) -> bytes | None: ...


def receive_sync(stream: Readable) -> Message | None:
    """The next message, for which the calling thread waits.

    None when the peer is gone, in the middle of a frame or between two.
    """
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


def _bytes(array: npt.NDArray[Any], kind: str) -> memoryview:
    """The array's own memory, where it lies there in one piece and in this type."""
    return memoryview(np.ascontiguousarray(array, kind).reshape(-1).view(np.uint8))  # type: ignore[arg-type] # a buffer


def _texts(body: memoryview, offset: int, texts: int, *, has_types: bool) -> TokenBatch:
    lengths = np.frombuffer(body, "<u4", texts, offset)
    offset += lengths.nbytes
    tokens = (len(body) - offset) // (5 if has_types else 4)
    ids = np.frombuffer(body, "<i4", tokens, offset)
    types = np.frombuffer(body, "u1", offset=offset + ids.nbytes) if has_types else None
    return TokenBatch(ids, lengths, types)


def _rows(body: memoryview, offset: int, rows: int, columns: int) -> VectorRows:
    return np.frombuffer(body, "<f4", offset=offset).reshape(rows, columns)


def _work(body: memoryview) -> Work:
    batch, texts, exclusive, has_types = _WORK.unpack_from(body)
    return Work(batch, _texts(body, _WORK.size, texts, has_types=has_types), exclusive)


def _vectors(body: memoryview) -> Vectors:
    batch, padding, rows, columns = _VECTORS.unpack_from(body)
    return Vectors(batch, _rows(body, _VECTORS.size, rows, columns), padding)


def _submit(body: memoryview) -> Submit:
    request, seconds, limit, texts, size, has_types, lane = _SUBMIT.unpack_from(body)
    start = _SUBMIT.size + size
    name = str(body[_SUBMIT.size : start], "utf-8")
    principal = Principal(name, None if limit == _UNLIMITED else limit)
    return Submit(request, _texts(body, start, texts, has_types=has_types), principal, _LANES[lane], seconds)


def _answer(body: memoryview) -> Rows:
    request, queue_seconds, per_minute, remaining, full_in, rows, columns = _ROWS.unpack_from(body)
    limit = None if per_minute == _UNLIMITED else RateLimit(per_minute, remaining, full_in)
    return Rows(request, _rows(body, _ROWS.size, rows, columns), queue_seconds, limit)


def _of_json(kind: type[Any]) -> Callable[[memoryview], Any]:
    """Messages that are rare, or have text in them."""
    makes = {field.name: _FROM_JSON[field.name] for field in fields(kind) if field.name in _FROM_JSON}

    def of(body: memoryview) -> Any:
        given = json.loads(bytes(body))
        for name, make in makes.items():
            given[name] = None if given[name] is None else make(given[name])
        return kind(**given)

    return of


_FROM_JSON: Mapping[str, Callable[[Any], Any]] = {
    "lane": Lane,
    "principal": lambda given: Principal(**given),
    "rate_limit": lambda given: RateLimit(**given),
}

_UNPACK: Mapping[int, Callable[[memoryview], Message]]
_KINDS: Mapping[type[Any], int]
_IN_BINARY: Mapping[type[Any], Callable[[memoryview], Message]] = {
    Work: _work,
    Vectors: _vectors,
    Submit: _submit,
    Rows: _answer,
}
_IN_JSON = (
    *(Ready, Failed, Broken, Serving, Check, Charge, Cancel, Granted, Fault),
    *(StateChange, Collect, Samples, Scrape, Scraped, Stop),
)
_KINDS = {kind: number for number, kind in enumerate([*_IN_BINARY, *_IN_JSON], start=1)}
_UNPACK = {_KINDS[kind]: _IN_BINARY.get(kind) or _of_json(kind) for kind in _KINDS}
