"""Malicious requests: each gets one clear error, and none is an internal server error."""

import gzip
import json
from collections.abc import Mapping
from http import HTTPStatus

import httpx
import pytest

from support.runtime_server import NAME, RuntimeServer

INFER = f"/v2/models/{NAME}/infer"


def test_the_name_of_an_unknown_field_that_may_be_a_text_is_nowhere_in_the_answer(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/v1/embeddings", **{"input": "a", "my secret text": 1})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert "secret" not in answer.text
    assert answer.json()["error"]["param"] is None


def test_a_field_name_that_is_not_valid_unicode_is_rejected(fake_server: RuntimeServer) -> None:
    answer = _embeddings(fake_server, b'{"input": "a", "\\ud800": 1}')
    assert answer.status_code == HTTPStatus.BAD_REQUEST


def test_a_value_that_is_not_valid_unicode_is_rejected_without_the_words_of_a_codec(fake_server: RuntimeServer) -> None:
    answer = _embeddings(fake_server, b'{"input": "a", "prompt_name": "\\ud800"}')
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"]["message"] == "prompt_name: must be valid Unicode, without unpaired surrogates"


@pytest.mark.parametrize("texts", [1, 10_000])
def test_a_compressed_body_is_rejected_by_that_name(fake_server: RuntimeServer, texts: int) -> None:
    content = gzip.compress(json.dumps({"input": list(map(str, range(texts)))}).encode(), compresslevel=0)
    answer = _embeddings(fake_server, content, {"Content-Encoding": "gzip"})
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert answer.json()["error"]["message"].startswith("compressed bodies are not supported: ")


def test_a_shape_with_huge_numbers_is_rejected(fake_server: RuntimeServer) -> None:
    tensor = {"name": "text", "shape": [10**4000, 10**4000], "datatype": "BYTES", "data": ["a"]}
    assert fake_server.post(INFER, inputs=[tensor]).status_code == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize("length", ["0" * 12 + "9" * 5000, "-1", "1.5", ""])
def test_an_invalid_length_of_the_json_is_rejected(fake_server: RuntimeServer, length: str) -> None:
    headers = {"Content-Type": "application/json", "Inference-Header-Content-Length": length}
    with fake_server.http() as http:
        answer = http.post(INFER, content=b"{}", headers=headers)
    assert answer.status_code == HTTPStatus.BAD_REQUEST


def test_metrics_are_returned_for_any_accept_header(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        answer = http.get("/metrics", headers={"Accept": "application/openmetrics-text;q=x;version=a"})
    assert answer.status_code == HTTPStatus.OK
    assert "embedding_requests" in answer.text


@pytest.mark.parametrize(
    ("path", "headers"),
    [
        ("/v1/embeddings", {"Content-Type": "application/JSON"}),
        (INFER, {"Content-Type": "application/octet-stream", "Inference-Header-Content-Length": "900010"}),
    ],
    ids=["capitals", "binary"],
)
def test_a_body_of_too_many_values_is_refused_before_it_is_parsed(
    fake_server: RuntimeServer, path: str, headers: dict[str, str]
) -> None:
    body = json.dumps({"input": [[]] * 300_000}, separators=(",", ":")).encode()
    with fake_server.http() as http:
        answer = http.post(path, content=body, headers=headers)
    assert answer.status_code == HTTPStatus.BAD_REQUEST
    assert "values, 300002 of them lists or objects" in answer.text


def _embeddings(server: RuntimeServer, content: bytes, headers: Mapping[str, str] = {}) -> httpx.Response:
    with server.http() as http:
        return http.post("/v1/embeddings", content=content, headers={"Content-Type": "application/json", **headers})
