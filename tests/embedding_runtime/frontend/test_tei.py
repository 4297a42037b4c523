"""Text Embeddings Inference's paths."""

import numpy as np
import pytest

from support.runtime_server import NAME, RuntimeServer


@pytest.mark.parametrize("path", ["/", "/embed"])
def test_texts_get_their_vectors(fake_server: RuntimeServer, path: str) -> None:
    rows = fake_server.post(path, inputs=["a", "b"]).json()
    assert np.array(rows).shape == (2, 384)
    assert fake_server.post(path, inputs="b").json() == rows[1:]


def test_a_long_text_is_rejected_or_truncated_as_requested(fake_server: RuntimeServer) -> None:
    long = "one " * 300
    refused = fake_server.post("/embed", inputs=long)
    assert refused.status_code == 413
    assert refused.json() == {
        "error": "inputs[0] has 302 tokens; the model's maximum is 256: shorten or split the text",
        "error_type": "Validation",
    }
    right = fake_server.post("/embed", inputs=long, truncate=True).json()
    assert right == fake_server.post("/embed", inputs="one " * 254).json()
    assert fake_server.post("/embed", inputs="two " + long, truncate=True, truncation_direction="Left").json() == right


def test_info_tells_the_model(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        info = http.get("/info").json()
    assert (info["model_id"], info["max_input_length"]) == (NAME, 256)
    assert info["model_type"] == {"embedding": {"pooling": "mean"}}


def test_health_answers_once_the_model_is_ready(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        assert http.get("/health").status_code == 200


def test_tokens_are_returned_in_teis_form(fake_server: RuntimeServer) -> None:
    (tokens,) = fake_server.post("/tokenize", inputs="hello").json()
    assert tokens == [
        {"id": 101, "text": "[CLS]", "special": True, "start": None, "stop": None},
        {"id": 7592, "text": "hello", "special": False, "start": 0, "stop": 5},
        {"id": 102, "text": "[SEP]", "special": True, "start": None, "stop": None},
    ]
    assert len(fake_server.post("/tokenize", inputs=["a", "b"], add_special_tokens=False).json()) == 2


def test_tokens_are_returned_in_vllms_form(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/tokenize", model=NAME, prompt="hello", return_token_strs=True).json()
    assert answer == {
        "count": 3,
        "max_model_len": 256,
        "tokens": [101, 7592, 102],
        "token_strs": ["[CLS]", "hello", "[SEP]"],
    }


def test_tokens_of_a_text_are_what_embeddings_takes_for_it(fake_server: RuntimeServer) -> None:
    ids = fake_server.post("/tokenize", prompt="hello there").json()["tokens"]
    client = fake_server.client()
    by_ids = client.embeddings.create(model=NAME, input=ids).data[0].embedding
    assert by_ids == client.embeddings.create(model=NAME, input="hello there").data[0].embedding


@pytest.mark.parametrize(
    ("field", "given", "words"),
    [
        ("inputs", ["a"] * 2049, "inputs has 2049 texts"),
        ("inputs", ["a " * 299_999] * 2, "inputs has at least 300001 tokens"),
        ("prompt", "a " * 300_000, "prompt has 300002 tokens"),
    ],
)
def test_tokenize_takes_no_more_than_embeddings_does(
    fake_server: RuntimeServer, field: str, given: object, words: str
) -> None:
    answer = fake_server.post("/tokenize", **{field: given})
    assert answer.status_code == 413
    assert words in answer.json()["error"]


@pytest.mark.parametrize("body", [{}, {"inputs": "a", "prompt": "a"}])
def test_exactly_one_form_of_tokenize_is_required(fake_server: RuntimeServer, body: dict[str, str]) -> None:
    answer = fake_server.post("/tokenize", **body)
    assert answer.status_code == 422
    assert "exactly one of inputs" in answer.json()["error"]


@pytest.mark.parametrize("value", [True, False])
def test_return_token_strs_is_rejected_with_inputs(fake_server: RuntimeServer, value: object) -> None:
    answer = fake_server.post("/tokenize", inputs="a", return_token_strs=value)
    assert answer.status_code == 422
    assert "return_token_strs is valid with prompt only" in answer.json()["error"]
