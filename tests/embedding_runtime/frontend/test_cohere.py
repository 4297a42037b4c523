"""Cohere's embed, v1 and v2."""

import base64
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from embedding_runtime.frontend.app import create_app
from support.played_worker import a_worker
from support.runtime_server import NAME, RuntimeServer
from support.services import MINILM, a_service


def test_v1_answers_bare_vectors(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/v1/embed", model=NAME, texts=["a", "b"], input_type="search_document").json()
    assert {**answer, "id": "", "embeddings": len(answer["embeddings"])} == {
        "id": "",
        "response_type": "embeddings_floats",
        "embeddings": 2,
        "texts": ["a", "b"],
        "meta": {"api_version": {"version": "1"}, "billed_units": {"input_tokens": 6}},
    }


def test_each_type_is_the_same_vector(fake_server: RuntimeServer) -> None:
    kinds = ["float", "base64", "binary", "ubinary"]
    found = fake_server.post("/v2/embed", model=NAME, texts=["a"], embedding_types=kinds).json()["embeddings"]
    vector = np.array(found["float"][0], dtype=np.float32)
    assert np.array_equal(np.frombuffer(base64.b64decode(found["base64"][0]), "<f4"), vector)
    assert np.array_equal(np.unpackbits(np.array(found["ubinary"][0], dtype=np.uint8)), vector > 0)
    assert np.array_equal(np.array(found["ubinary"][0]) - 128, found["binary"][0])


def test_int8_covers_minus_one_to_one(fake_server: RuntimeServer) -> None:
    kinds = ["float", "int8", "uint8"]
    found = fake_server.post("/v2/embed", texts=["a"], embedding_types=kinds).json()["embeddings"]
    vector, signed = np.array(found["float"][0]), np.array(found["int8"][0])
    assert np.abs(vector - signed / 127).max() <= 0.5 / 127 + 1e-6
    assert np.array_equal(signed + 128, found["uint8"][0])


async def test_int8_is_rejected_for_unnormalized_vectors() -> None:
    async with a_worker() as worker:
        app = create_app(a_service(worker.engine, spec=replace(MINILM, steps=())))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            answer = await http.post("/v1/embed", json={"texts": ["a"], "embedding_types": ["int8"]})
    assert answer.status_code == 400
    assert "int8 and uint8 need vectors of length 1" in answer.json()["message"]


def test_contents_are_texts_too(fake_server: RuntimeServer) -> None:
    inputs = [{"content": [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]}]
    by_content = fake_server.post("/v2/embed", model=NAME, inputs=inputs).json()
    assert by_content["embeddings"] == fake_server.post("/v2/embed", model=NAME, texts=["a b"]).json()["embeddings"]


def test_a_long_text_loses_its_end_by_default(fake_server: RuntimeServer) -> None:
    long = "one " * 300
    cut = fake_server.post("/v2/embed", model=NAME, texts=[long])
    assert cut.json()["meta"]["billed_units"] == {"input_tokens": 256}
    assert cut.json()["meta"]["warnings"] == ["texts[0] was longer than the model's maximum and was truncated"]
    assert cut.headers["X-Truncated"] == "1"
    assert fake_server.post("/v2/embed", model=NAME, texts=[long], truncate="NONE").status_code == 400


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "exactly one of texts and inputs is required"),
        ({"texts": ["a"], "embedding_types": ["int4"]}, "embedding_types[0]: Input should be 'float', 'base64'"),
        ({"texts": ["a"], "input_type": "image"}, "input_type"),
        ({"texts": [3], "truncate": "LEFT"}, "; texts[0]: Input should be a valid string"),
        ({"texts": ["a"], "output_dimension": 3}, "384"),
        ({"inputs": [{"content": [{"type": "text", "text": "a"}], "role": "user"}]}, "inputs[0]: unknown field role"),
        (
            {"inputs": [{"content": [{"type": "text", "text": "a", "weight": 2}]}]},
            "inputs[0].content[0]: unknown field weight",
        ),
    ],
)
def test_errors_have_coheres_format(fake_server: RuntimeServer, body: dict[str, Any], words: str) -> None:
    answer = fake_server.post("/v2/embed", model=NAME, **body)
    assert answer.status_code == 400
    (message,) = answer.json().values()
    assert words in message


async def test_bits_that_do_not_fill_bytes_are_rejected_before_computing() -> None:
    async with a_worker() as worker:
        app = create_app(a_service(worker.engine, spec=replace(MINILM, sizes=(100,))))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://test") as http:
            body = {"model": "m", "texts": ["a"], "output_dimension": 100, "embedding_types": ["float", "binary"]}
            answer = await http.post("/v2/embed", json=body)
    assert answer.status_code == 400
    assert "binary needs a multiple of 8 dimensions, not 100" in answer.json()["message"]
