"""Vectors in all types and byte orders of vLLM's API, with the same bits as in torch."""

import base64
import json
from typing import Any, get_args

import httpx
import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from embedding_runtime.errors import BadRequest
from embedding_runtime.frontend.pipeline.dtypes import EmbedDtype, Endianness, cast, item_size
from support.runtime_server import NAME, RuntimeServer

TORCH = {
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
    "fp8_e4m3": torch.float8_e4m3fn,
    "fp8_e5m2": torch.float8_e5m2,
}
VIEWS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
LARGEST = {"float32": 3e38, "float16": 65504, "bfloat16": 3e38, "fp8_e4m3": 448, "fp8_e5m2": 57344}

dtypes = st.sampled_from(get_args(EmbedDtype))
orders = st.sampled_from(get_args(Endianness))


def by_torch(rows: npt.NDArray[np.float32], dtype: EmbedDtype, endianness: Endianness) -> bytes:
    found = torch.from_numpy(rows.copy()).to(TORCH[dtype]).view(VIEWS[item_size(dtype)]).numpy()
    return found.astype(found.dtype.newbyteorder(">" if endianness == "big" else "<")).tobytes()


def read(content: bytes, dtype: EmbedDtype, endianness: Endianness) -> npt.NDArray[np.float32]:
    """As a client reads it: with torch's types, which numpy has not all of."""
    size = item_size(dtype)
    bits = np.frombuffer(
        content, np.dtype(f"i{size}" if size > 1 else "u1").newbyteorder(">" if endianness == "big" else "<")
    )
    native = bits.astype(bits.dtype.newbyteorder("="))
    return torch.from_numpy(native).view(TORCH[dtype]).to(torch.float32).numpy()


@given(data=st.data(), dtype=dtypes, endianness=orders)
def test_every_number_is_as_torch_rounds_it(data: st.DataObject, dtype: EmbedDtype, endianness: Endianness) -> None:
    largest = float(np.float32(LARGEST[dtype]))
    numbers = st.floats(-largest, largest, width=32) | st.floats(-1, 1, width=32)
    rows = data.draw(arrays(np.float32, (2, 8), elements=numbers))
    assert cast(rows, dtype, endianness).tobytes() == by_torch(rows, dtype, endianness)


@pytest.mark.parametrize("dtype", ["fp8_e4m3", "fp8_e5m2"])
def test_ties_of_int8_round_to_even(dtype: EmbedDtype) -> None:
    codes = torch.arange(256, dtype=torch.int16).to(torch.uint8)
    values = codes.view(TORCH[dtype]).to(torch.float32).numpy()
    finite = np.unique(values[np.isfinite(values)])
    middles = (finite[1:] + finite[:-1]) / 2
    rows = np.stack([middles, np.nextafter(middles, np.float32(-np.inf)), np.nextafter(middles, np.float32(np.inf))])
    assert cast(rows, dtype).tobytes() == by_torch(rows, dtype, "little")


@given(dtype=dtypes, endianness=orders, data=st.data())
def test_representable_numbers_are_unchanged(data: st.DataObject, dtype: EmbedDtype, endianness: Endianness) -> None:
    rows = data.draw(arrays(np.float32, 8, elements=st.sampled_from([0.0, -0.0, 0.5, -1.0, 1.5, 2**-6])))
    assert np.array_equal(read(cast(rows, dtype, endianness).tobytes(), dtype, endianness), rows)


@pytest.mark.parametrize(
    ("dtype", "number"), [("float16", 65520), ("bfloat16", 3.4e38), ("fp8_e4m3", 465), ("fp8_e5m2", 61440)]
)
def test_a_number_that_exceeds_the_type_is_rejected(dtype: EmbedDtype, number: float) -> None:
    with pytest.raises(BadRequest, match=f"embed_dtype: a vector has numbers that exceed the range of {dtype}"):
        cast(np.array([[0, -number]], np.float32), dtype)


@pytest.fixture(scope="module")
def vectors(fake_server: RuntimeServer) -> npt.NDArray[np.float32]:
    data = fake_server.embeddings(input=["a", "b"]).json()["data"]
    return np.array([item["embedding"] for item in data], np.float32)


def embeddings(server: RuntimeServer, **body: Any) -> httpx.Response:
    answer = server.embeddings(input=["a", "b"], **body)
    assert answer.status_code == 200, answer.text
    return answer


@pytest.mark.parametrize("dtype", get_args(EmbedDtype))
@pytest.mark.parametrize("endianness", get_args(Endianness))
def test_base64_has_the_requested_type_and_byte_order(
    fake_server: RuntimeServer, vectors: npt.NDArray[np.float32], dtype: EmbedDtype, endianness: Endianness
) -> None:
    asked = {"encoding_format": "base64", "embed_dtype": dtype, "endianness": endianness}
    data = embeddings(fake_server, **asked).json()["data"]
    found = b"".join(base64.b64decode(item["embedding"]) for item in data)
    assert found == by_torch(vectors, dtype, endianness)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_bytes_are_concatenated_vectors_described_by_a_header(
    fake_server: RuntimeServer, vectors: npt.NDArray[np.float32], dtype: EmbedDtype
) -> None:
    answer = embeddings(fake_server, encoding_format="bytes", embed_dtype=dtype, endianness="big")
    assert answer.headers["Content-Type"] == "application/octet-stream"
    metadata = json.loads(answer.headers["metadata"])
    assert (metadata["model"], metadata["usage"]["total_tokens"]) == (NAME, 6)
    second = metadata["data"][1]
    assert {**second, "start": 0, "end": 0} == {
        "index": 1,
        "embed_dtype": dtype,
        "endianness": "big",
        "start": 0,
        "end": 0,
        "shape": [384],
    }
    assert answer.content[second["start"] : second["end"]] == by_torch(vectors[1:], dtype, "big")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's, of its own parts, at vLLM's import
def test_vllms_own_reader_reads_the_bytes(fake_server: RuntimeServer, vectors: npt.NDArray[np.float32]) -> None:
    from vllm.utils.serial_utils import binary2tensor  # noqa: PLC0415 it takes seconds

    content = embeddings(fake_server, encoding_format="bytes", embed_dtype="float16", endianness="big").content
    found = binary2tensor(content, (2, 384), "float16", "big").to(torch.float32).numpy()
    assert np.array_equal(found, vectors.astype(np.float16).astype(np.float32))


def test_bytes_alone_have_no_header(fake_server: RuntimeServer, vectors: npt.NDArray[np.float32]) -> None:
    answer = embeddings(fake_server, encoding_format="bytes_only")
    assert "metadata" not in answer.headers
    assert answer.content == vectors.tobytes()


def test_a_header_that_is_too_long_is_rejected_before_computing(fake_server: RuntimeServer) -> None:
    answer = fake_server.embeddings(input=["a"] * 1000, encoding_format="bytes")
    assert answer.status_code == 400
    assert "use bytes_only" in answer.json()["error"]["message"]
    assert fake_server.embeddings(input=["a"] * 1000, encoding_format="bytes_only").status_code == 200


@pytest.mark.parametrize("asked", [{"embed_dtype": "float16"}, {"endianness": "big"}])
def test_a_type_is_refused_for_numbers_in_json(fake_server: RuntimeServer, asked: dict[str, str]) -> None:
    answer = fake_server.embeddings(input="a", encoding_format="float", **asked)
    assert answer.status_code == 400
    assert (
        "is not valid with encoding_format float: use base64, bytes or bytes_only" in answer.json()["error"]["message"]
    )


@pytest.mark.parametrize("kind", ["binary", "ubinary"])
def test_jinas_embedding_type_gives_bits(
    fake_server: RuntimeServer, vectors: npt.NDArray[np.float32], kind: str
) -> None:
    data = embeddings(fake_server, embedding_type=kind).json()["data"]
    found = np.array([item["embedding"] for item in data]) + (128 if kind == "binary" else 0)
    assert np.array_equal(np.unpackbits(found.astype(np.uint8), axis=1), vectors > 0)
