"""Fields that the server does not support: harmless ones are ignored, others rejected by name."""

import json
from typing import Any

import pytest

from support.runtime_server import NAME, RuntimeServer

PATHS: dict[str, dict[str, Any]] = {
    "/v1/embeddings": {"model": NAME, "input": "a"},
    "/v1/embed": {"model": NAME, "texts": ["a"]},
    "/v2/embed": {"model": NAME, "texts": ["a"]},
    "/embed": {"inputs": "a"},
    "/tokenize": {"inputs": "a"},
    "/pooling": {"input": "a"},
    "/v1/rerank": {"model": NAME, "query": "a", "documents": ["b"]},
    "/rerank": {"query": "a", "texts": ["b"]},
    "/v1/score": {"model": NAME, "text_1": "a", "text_2": "b"},
    f"/v1/models/{NAME}:predict": {"instances": ["a"]},
    f"/v2/models/{NAME}/infer": {"inputs": [{"name": "t", "shape": [1], "datatype": "BYTES", "data": ["a"]}]},
}


TEI = {"/embed", "/tokenize", "/rerank"}
"""Paths with the status codes of Text Embeddings Inference."""


def message_of(server: RuntimeServer, path: str, **fields: object) -> str:
    answer = server.post(path, **PATHS[path], **fields)
    assert answer.status_code == (422 if path in TEI else 400), answer.text
    said: Any = answer.json()
    error = said.get("error", said)
    return str(error["message"] if isinstance(error, dict) else error)


@pytest.mark.parametrize(
    ("path", "field", "value", "words"),
    [
        ("/v1/embeddings", "embed_dtype", "float16", "with encoding_format float: use base64, bytes"),
        ("/v1/embeddings", "endianness", "big", "with encoding_format float: use base64, bytes"),
        ("/pooling", "embed_dtype", "float16", "with encoding_format float: use base64"),
        ("/pooling", "endianness", "big", "with encoding_format float: use base64"),
        ("/v1/embeddings", "use_activation", False, "use normalize"),
        ("/v1/embeddings", "task", "retrieval.query", "use input_type or prompt_name"),
        ("/v1/embeddings", "late_chunking", True, "each text is embedded separately"),
        ("/v1/embeddings", "embedding_types", ["binary"], "use encoding_format"),
        ("/v1/embeddings", "output_dimension", 128, "use dimensions"),
        ("/v1/embeddings", "truncate_dim", 128, "use dimensions"),
        ("/v1/embeddings", "padding", "max_length", "texts are not padded"),
        ("/v1/embed", "output_dimension", 128, "use output_dimension of POST /v2/embed"),
        ("/v2/embed", "dimensions", 128, "use output_dimension"),
        ("/v2/embed", "max_tokens", 5, "texts are truncated at the model's maximum length"),
        ("/embed", "parameters", {"truncate": True}, "move its fields to the top level"),
        ("/tokenize", "messages", [], "use prompt"),
        ("/v1/rerank", "top_k", 3, "use top_n"),
        ("/v1/rerank", "rank_fields", ["title"], "documents are ranked by their text only"),
        ("/rerank", "top_n", 1, "top_n is valid with documents only"),
        ("/v1/score", "max_tokens_per_query", 7, "pairs are truncated at the model's maximum length"),
        (f"/v1/models/{NAME}:predict", "parameters", {"dimensions": 3}, "use POST /v1/embeddings for dimensions"),
    ],
)
def test_a_field_that_would_change_the_result_is_rejected_with_a_remedy(
    fake_server: RuntimeServer, path: str, field: str, value: object, words: str
) -> None:
    message = message_of(fake_server, path, **{field: value})
    assert message.startswith(field)
    assert words in message


@pytest.mark.parametrize("path", PATHS)
def test_an_unknown_field_is_rejected_with_the_valid_ones(fake_server: RuntimeServer, path: str) -> None:
    message = message_of(fake_server, path, zzz=1)
    assert message.startswith("zzz: unknown field; valid fields: ")
    assert message_of(fake_server, path, **{"a secret text": 1}) == (
        "the body has an unknown field whose name is not valid (letters, digits, _ . - only): remove it"
    )


def test_a_misspelt_field_gets_a_suggestion(fake_server: RuntimeServer) -> None:
    assert (
        message_of(fake_server, "/v1/embeddings", dimension=128) == "dimension: unknown field; did you mean dimensions?"
    )


@pytest.mark.parametrize("path", [path for path in PATHS if "rerank" not in path and "score" not in path])
def test_harmless_fields_are_accepted(fake_server: RuntimeServer, path: str) -> None:
    harmless = {"priority": 3, "request_id": "x", "user": "somebody", "metadata": {"a": "b"}, "task": None, "zzz": None}
    answer = fake_server.post(path, **PATHS[path], **harmless)
    assert answer.status_code == 200, answer.text


def test_values_that_match_the_behaviour_are_accepted(fake_server: RuntimeServer) -> None:
    asked: dict[str, Any] = {"embed_dtype": "float32", "endianness": "little", "late_chunking": False}
    answer = fake_server.embeddings(input="a", padding="do_not_pad", embedding_type="float", **asked)
    assert answer.status_code == 200


def test_all_problems_are_reported_together(fake_server: RuntimeServer) -> None:
    assert message_of(fake_server, "/v1/embeddings", dimensions="many", task="x") == (
        "dimensions: Input should be a valid integer; task is not supported: use input_type or prompt_name"
    )


def test_very_many_unknown_fields_are_refused_at_once(fake_server: RuntimeServer) -> None:
    body = {"model": NAME, "input": "a", **{f"f{number}": 1 for number in range(300_000)}}
    with fake_server.http() as http:
        answer = http.post(
            "/v1/embeddings", content=json.dumps(body), headers={"Content-Type": "application/json"}, timeout=30
        )
    assert answer.status_code == 400
    assert "; and 299980 more" in answer.json()["error"]["message"]
