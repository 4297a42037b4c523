"""Vectors as JSON: large responses, which are serialized in a thread, equal small ones."""

from typing import Any

import numpy as np
import orjson
import pytest

from embedding_runtime.frontend.pipeline import answers
from embedding_runtime.frontend.pipeline.answers import encoded, flat, json_of, packed

ROWS = np.array([[1.5, -2.0, 0.25, 0.0, 3.0, -1.0, 1.0, 1.0], [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, -0.8]], np.float32)


@pytest.fixture(params=["small", "large"], autouse=True)
def _size(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "large":
        monkeypatch.setattr(answers, "_LARGE", 1)


def read(content: Any) -> Any:
    return orjson.loads(json_of(content).body)


async def test_floats_read_back_as_they_were() -> None:
    assert np.array_equal(np.array(read(await encoded(ROWS, "float")), np.float32), ROWS)


async def test_base64_is_of_little_endian_floats() -> None:
    assert read(await encoded(ROWS[:, :1], "base64")) == ["AADAPw==", "zczMPQ=="]


async def test_bits_are_set_where_a_number_is_above_zero() -> None:
    assert read(await encoded(ROWS, "ubinary")) == [[0b10101011], [0b11111110]]
    assert read(await encoded(ROWS, "binary")) == [[0b10101011 - 128], [0b11111110 - 128]]


async def test_flat_is_row_by_row() -> None:
    assert np.array_equal(np.array(read(await flat(ROWS)), np.float32), ROWS.ravel())


async def test_packed_is_row_by_row_in_the_type_and_order_that_were_asked_for() -> None:
    assert await packed(ROWS) == ROWS.tobytes()
    assert await packed(ROWS, "float16", "big") == ROWS.astype(">f2").tobytes()


async def test_int8_is_clamped_to_minus_one_to_one() -> None:
    rows = np.array([[-1, -0.5, 0, 0.004, 1, 1.5]], np.float32)
    assert read(await encoded(rows, "int8")) == [[-127, -64, 0, 1, 127, 127]]
    assert read(await encoded(rows, "uint8")) == [[1, 64, 128, 129, 255, 255]]
