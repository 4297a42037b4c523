"""Every error has OpenAI's envelope, names the field, and quotes no text."""

import json
import re
from typing import Any

import httpx
import pytest

from support.runtime_server import RuntimeServer

SECRET = "a-text-nobody-may-see"


def error_of(answer: httpx.Response) -> dict[str, Any]:
    (error,) = answer.json().values()
    assert set(error) == {"message", "type", "param", "code"}
    return dict(error)


@pytest.mark.parametrize(
    ("body", "param", "words"),
    [
        ({}, "input", "input is required"),
        ({"input": []}, "input", "empty list"),
        ({"input": None}, "input", "a string, a list of strings"),
        ({"input": {"text": SECRET}}, "input", "a string, a list of strings"),
        ({"input": [SECRET, 3]}, "input", "a string, a list of strings"),
        ({"input": [[]]}, "input", "input[0] has no tokens"),
        ({"input": [-1]}, "input", "a string, a list of strings"),
        ({"input": [1.5]}, "input", "a string, a list of strings"),
        ({"input": [[101, 30522, 102]]}, "input", "30522"),
        ({"input": [[7592, 2088]]}, "input", "[101] before the text and [102] after it"),
        ({"input": SECRET, "encoding_format": "hex"}, "encoding_format", "'float', 'base64', 'bytes' or 'bytes_only'"),
        ({"input": SECRET, "dimensions": 128}, "dimensions", "384"),
        ({"input": SECRET, "dimensions": "many"}, "dimensions", "integer"),
        ({"input": SECRET, "model": 3}, "model", "string"),
    ],
)
def test_a_bad_request_names_its_field(
    fake_server: RuntimeServer, body: dict[str, Any], param: str, words: str
) -> None:
    answer = fake_server.embeddings(**body)
    error = error_of(answer)
    assert (answer.status_code, error["param"], error["type"]) == (400, param, "invalid_request_error")
    assert words in error["message"]
    assert SECRET not in answer.text


@pytest.mark.parametrize(
    ("content", "kind", "words"),
    [
        (b'{"model": ', "application/json", "not JSON"),
        (b"", "application/json", "not a JSON object"),
        (b'["a"]', "application/json", "not a JSON object"),
        (b'{"model": "a", "input": "b"}', "application/x-www-form-urlencoded", "Content-Type: application/json"),
        (b"{}", "application/jsonp", "Content-Type: application/json"),
        (b'{"input": "\xff"}', "application/json", "not JSON: it is not valid UTF-8"),
        (b"[" * 9_000, "application/json", "the lists and objects of the body are nested too deeply"),
        (b"1" * 5_000, "application/json", "the body has a number with too many digits"),
        (b'{"model": "sentence-transformer", "input": "\\ud800"}', "application/json", "input"),
    ],
)
def test_a_body_that_is_not_json_is_refused(fake_server: RuntimeServer, content: bytes, kind: str, words: str) -> None:
    with fake_server.http() as http:
        answer = http.post("/v1/embeddings", content=content, headers={"Content-Type": kind})
    assert answer.status_code == 400
    assert words in error_of(answer)["message"]


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON", "application/vnd.api+json"])
def test_json_is_known_by_its_content_type(fake_server: RuntimeServer, kind: str) -> None:
    body = json.dumps({"model": "sentence-transformer", "input": "a"})
    with fake_server.http() as http:
        assert http.post("/v1/embeddings", content=body, headers={"Content-Type": kind}).status_code == 200


def test_a_body_without_a_content_type_is_refused(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        answer = http.post("/v1/embeddings", content=b'{"model": "sentence-transformer", "input": "a"}')
    assert answer.status_code == 400
    assert "Content-Type: application/json" in error_of(answer)["message"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("POST", "/v1/nowhere", 404),
        ("GET", "/v1/embeddings", 405),
    ],
)
def test_a_wrong_path_or_method_has_the_error_envelope(
    fake_server: RuntimeServer, method: str, path: str, status: int
) -> None:
    with fake_server.http() as http:
        answer = http.request(method, path)
    assert answer.status_code == status
    assert path in error_of(answer)["message"]


def test_an_unknown_path_is_not_taken_for_a_known_one(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        answer = http.post("/v1/em%09bed")  # without the tab, it is Cohere's
    assert answer.status_code == 404
    assert error_of(answer)["message"] == "POST /v1/em\tbed: Not Found; see the paths at /docs"


@pytest.mark.parametrize(("method", "path"), [("POST", "/v1/embeddings/"), ("GET", "/v2/models")])
def test_there_are_no_redirects_which_would_repeat_the_clients_host(
    fake_server: RuntimeServer, method: str, path: str
) -> None:
    with fake_server.http() as http:
        answer = http.request(method, path, headers={"Host": "evil.example"})
    assert answer.status_code == 404
    assert "evil.example" not in str(answer.headers) + answer.text


@pytest.mark.parametrize(("path", "methods"), [("/", "GET, HEAD, POST"), ("/embed", "POST"), ("/docs", "GET, HEAD")])
def test_a_wrong_method_gets_the_allowed_ones(fake_server: RuntimeServer, path: str, methods: str) -> None:
    with fake_server.http() as http:
        answer = http.delete(path)
        assert http.delete("/docs/files/favicon.png").status_code == 405
    assert (answer.status_code, answer.headers["Allow"]) == (405, methods)


def test_all_problems_are_reported_at_once(fake_server: RuntimeServer) -> None:
    message = error_of(fake_server.embeddings(dimensions="many", truncate=SECRET, user=3))["message"]
    assert message.split("; ") == [
        "input is required",
        "dimensions: Input should be a valid integer",
        "user: Input should be a valid string",
        "truncate: must be true, false, NONE, START or END",
    ]


def test_every_text_that_is_too_long_is_named(fake_server: RuntimeServer) -> None:
    error = error_of(fake_server.embeddings(input=["one " * 300, "a", "one " * 400]))
    assert (
        error["message"]
        == "input[0] has 302 tokens, input[2] has 402; the model's maximum is 256: shorten or split these texts"
    )


def test_no_text_reaches_the_log(fake_server: RuntimeServer) -> None:
    fake_server.embeddings(input=SECRET)
    fake_server.embeddings(input=[SECRET, 3])
    fake_server.embeddings(input=SECRET, dimensions=1)
    assert SECRET not in fake_server.log


def test_fields_of_other_servers_are_ignored(fake_server: RuntimeServer) -> None:
    assert fake_server.embeddings(input="a", priority=3).status_code == 200


def test_docs_are_served(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        page = http.get("/docs").text
        assert "https://" not in page  # nothing from elsewhere
        for file in re.findall(r'(?:href|src)="(.*?)"', page):
            assert http.get(f"/{file}").status_code == 200, file
        assert "/openai/v1/embeddings" in http.get("/openapi.json").json()["paths"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"add_special_tokens": False}, "add_special_tokens: "),
        (
            {"truncate": True, "truncation_direction": "Left", "truncation_side": "right"},
            "truncation_side: truncate, truncation_direction and truncation_side name different ends of the text",
        ),
    ],
)
def test_options_that_contradict_each_other_are_rejected_by_name(
    fake_server: RuntimeServer, asked: dict[str, Any], words: str
) -> None:
    answer = fake_server.embeddings(input="a", **asked)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]
