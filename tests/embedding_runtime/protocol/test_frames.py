import asyncio
import io
import socket
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from embedding_runtime.protocol import messages
from embedding_runtime.protocol.frames import pack, receive_sync
from embedding_runtime.protocol.link import MessageLink
from embedding_runtime.protocol.messages import Message
from embedding_runtime.protocol.requests import Lane, Output, Principal, RateLimit
from embedding_runtime.protocol.rows import RaggedRows, RowSet
from embedding_runtime.protocol.token_batch import TokenBatch

NUMBER = st.integers(0, 2**63 - 1)
SECONDS = st.floats(0, 1e9)
ROWS = nps.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)))  # NaN and infinities among them


@st.composite
def ragged_rows(draw: st.DrawFn) -> RaggedRows:
    lengths = draw(nps.arrays(np.uint32, st.integers(1, 5), elements=st.integers(0, 6)))
    items = int(lengths.sum())
    values = draw(nps.arrays(np.float32, (items, draw(st.integers(1, 4)))))
    indices = nps.arrays(np.int32, items)
    return RaggedRows(values, lengths, draw(st.none() | indices))


ANY_ROWS = ROWS | ragged_rows()
RESULTS = ANY_ROWS | st.builds(RowSet, st.lists(ANY_ROWS, min_size=2, max_size=3))


@st.composite
def batches(draw: st.DrawFn) -> TokenBatch:
    texts = draw(st.lists(nps.arrays(np.int32, st.integers(1, 20)), min_size=1, max_size=5))
    has_types = draw(st.booleans())
    types = [draw(nps.arrays(np.uint8, len(text), elements=st.integers(0, 3))) for text in texts]
    return TokenBatch.of(texts, types if has_types else None)


LIMIT = st.none() | st.builds(RateLimit, NUMBER, NUMBER, SECONDS)
PRINCIPAL = st.builds(Principal, st.text(max_size=70), st.none() | NUMBER)
LANE = st.sampled_from(Lane)
OUTPUT = st.sampled_from(Output)
SAMPLES = st.text()
MESSAGES: st.SearchStrategy[Message] = st.one_of(
    st.builds(messages.Work, NUMBER, batches(), st.booleans(), OUTPUT),
    st.builds(messages.Vectors, NUMBER, RESULTS, st.integers(0, 2**32 - 1)),
    st.builds(messages.Ready, st.text(), st.booleans(), NUMBER, st.none() | SECONDS, st.none() | SECONDS),
    st.builds(messages.Failed, NUMBER),
    st.builds(messages.Broken, st.text()),
    st.builds(messages.Serving),
    st.builds(messages.Submit, NUMBER, batches(), PRINCIPAL, LANE, SECONDS | st.just(float("inf")), OUTPUT),
    st.builds(messages.Cancel, NUMBER),
    st.builds(messages.Check, NUMBER, NUMBER, NUMBER, PRINCIPAL, st.none() | LANE, SECONDS | st.just(float("inf"))),
    st.builds(messages.Charge, NUMBER, PRINCIPAL, NUMBER, st.booleans()),
    st.builds(messages.Granted, NUMBER, LIMIT),
    st.builds(messages.RequestRows, NUMBER, RESULTS, SECONDS, LIMIT),
    st.builds(messages.Fault, NUMBER, st.text(), st.text(), st.dictionaries(st.text(), st.text()), LIMIT),
    st.builds(messages.StateChange, st.text(), st.text(), st.none() | SECONDS),
    st.builds(messages.Collect),
    st.builds(messages.Samples, SAMPLES),
    st.builds(messages.Scrape, NUMBER),
    st.builds(messages.Scraped, NUMBER, st.lists(SAMPLES)),
    st.builds(messages.Stop, st.booleans()),
)


def same(one: object, other: object) -> bool:
    if isinstance(one, np.ndarray):
        return isinstance(other, np.ndarray) and np.array_equal(one, other, equal_nan=one.dtype.kind == "f")
    if is_dataclass(one):
        pairs = ((getattr(one, each.name), getattr(other, each.name)) for each in fields(one))
        return type(one) is type(other) and all(same(*pair) for pair in pairs)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return one == other


def frame(message: Message) -> bytes:
    return b"".join(pack(message))


@given(st.lists(MESSAGES, max_size=4))
def test_messages_arrive_in_a_thread_as_they_were_sent(sent: list[Message]) -> None:
    stream = io.BytesIO(b"".join(map(frame, sent)))
    assert all(same(receive_sync(stream), message) for message in sent)
    assert receive_sync(stream) is None


@given(MESSAGES, st.data())
def test_a_partial_message_ends_the_stream(message: Message, data: st.DataObject) -> None:
    whole = frame(message)
    assert receive_sync(io.BytesIO(whole[: data.draw(st.integers(0, len(whole) - 1))])) is None


def test_a_frame_of_another_protocol_is_a_fault() -> None:
    with pytest.raises(ValueError, match="99"):
        receive_sync(io.BytesIO(b"\x63" + b"\x00" * 11))


async def received(*chunks: bytes) -> tuple[list[Message], str | None]:
    """What a link calls back with, until its end."""
    ours, theirs = socket.socketpair()
    found: list[Message] = []
    closed: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
    await MessageLink.connect(ours, found.append, closed.set_result)
    theirs.setblocking(False)
    for chunk in chunks:
        try:
            await asyncio.get_running_loop().sock_sendall(theirs, chunk)
        except OSError:  # it has hung up
            break
    theirs.close()
    return found, await closed


@given(st.lists(MESSAGES, min_size=1, max_size=4), st.data())
def test_messages_arrive_on_a_loop_however_they_are_cut(sent: list[Message], data: st.DataObject) -> None:
    stream = b"".join(map(frame, sent))
    cut = data.draw(st.integers(0, len(stream)))
    found, problem = asyncio.run(received(stream[:cut], stream[cut:]))
    assert problem is None
    assert len(found) == len(sent)
    assert all(map(same, found, sent))


@pytest.mark.parametrize("size", [1 << 15, 1 << 17, 1 << 20])
async def test_a_message_larger_than_the_buffer_arrives_between_others(size: int) -> None:
    rows = np.arange(size, dtype=np.float32).reshape(-1, 64)
    sent: list[Any] = [messages.Failed(1), messages.Vectors(2, rows), messages.Failed(3), messages.Vectors(4, rows)]
    found, problem = await received(*map(frame, sent))
    assert problem is None
    assert all(map(same, found, sent))
    assert len(found) == 4


async def test_a_link_closes_after_an_invalid_frame() -> None:
    found, problem = await received(frame(messages.Failed(1)), b"\x63" + b"\x00" * 11, frame(messages.Failed(2)))
    assert found == [messages.Failed(1)]
    assert problem is not None
    assert "99" in problem
