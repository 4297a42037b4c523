import asyncio
import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from embedding_runtime.protocol.messages import (
    Broken,
    Failed,
    Message,
    Ready,
    Vectors,
    Work,
    pack,
    receive,
    receive_sync,
)

BATCH = st.integers(0, 2**64 - 1)
IDS = nps.arrays(np.int32, st.integers(1, 20), elements=st.integers(0, 2**31 - 1))
ROWS = nps.arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 8)))  # NaN and infinities among them
MESSAGES = st.one_of(
    st.builds(Work, BATCH, st.lists(IDS, min_size=1, max_size=5)),
    st.builds(Vectors, BATCH, ROWS, st.integers(0, 2**32 - 1)),
    st.builds(Ready, st.text()),
    st.builds(Failed, BATCH),
    st.builds(Broken, st.text()),
)


def same(one: Message | None, other: Message) -> bool:
    match one, other:
        case Work(batch, texts), Work(others_batch, others_texts):
            return batch == others_batch and all(map(np.array_equal, texts, others_texts))
        case Vectors(batch, rows, padding), Vectors(others_batch, others_rows, others_padding):
            return (batch, padding) == (others_batch, others_padding) and np.array_equal(
                rows, others_rows, equal_nan=True
            )
    return one == other


@given(st.lists(MESSAGES, max_size=4))
def test_messages_arrive_as_they_were_sent(messages: list[Message]) -> None:
    stream = io.BytesIO(b"".join(map(pack, messages)))
    assert all(same(receive_sync(stream), message) for message in messages)
    assert receive_sync(stream) is None


@given(MESSAGES, st.data())
def test_half_a_message_is_the_end_on_either_side(message: Message, data: st.DataObject) -> None:
    frame = pack(message)
    half = frame[: data.draw(st.integers(0, len(frame) - 1))]
    assert receive_sync(io.BytesIO(half)) is None

    async def front() -> Message | None:
        reader = asyncio.StreamReader()
        reader.feed_data(half)
        reader.feed_eof()
        return await receive(reader)

    assert asyncio.run(front()) is None


def test_a_frame_of_another_protocol_is_a_fault() -> None:
    with pytest.raises(ValueError, match="99"):
        receive_sync(io.BytesIO(b"\x63" + b"\x00" * 11))
