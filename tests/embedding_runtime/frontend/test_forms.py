"""Paths and forms of other servers: omitted model, aliases, root paths, HEAD, SageMaker, truncated inputs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.models import a_cross_encoder
from support.runtime_server import NAME, RuntimeServer

LONG = "one " * 300


@pytest.fixture(scope="module")
def cross_encoder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    model = a_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))
    with RuntimeServer("fake", model=model, aliases=["reranker"]) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def with_aliases() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", aliases=["text-embedding-3-small", "org/name"]) as server:
        yield server.ready()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a"}),
        ("/v1/embeddings", {"input": "a", "model": None}),
        ("/v1/embed", {"texts": ["a"]}),
        ("/v2/embed", {"texts": ["a"]}),
    ],
)
def test_the_model_may_be_omitted(fake_server: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = fake_server.post(path, **body)
    assert answer.status_code == 200
    assert answer.json().get("model", NAME) == NAME


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": "a", "documents": ["b"]}),
        ("/v2/rerank", {"query": "a", "documents": ["b"], "top_n": 0, "max_tokens_per_doc": 0}),
        ("/v1/score", {"text_1": "a", "text_2": "b"}),
        ("/score", {"queries": "a", "items": ["b"]}),
        ("/score", {"data_1": "a", "data_2": ["b"]}),
    ],
)
def test_the_model_may_be_omitted_for_pairs(cross_encoder: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = cross_encoder.post(path, **body).json()
    assert answer["model"] == NAME
    assert len(answer.get("results", answer.get("data"))) == 1


@pytest.mark.parametrize("name", [NAME, "text-embedding-3-small", "org/name"])
def test_a_response_has_the_requested_model_name(with_aliases: RuntimeServer, name: str) -> None:
    assert with_aliases.post("/v1/embeddings", model=name, input="a").json()["model"] == name
    with with_aliases.http() as http:
        assert http.get(f"/v1/models/{name}").json()["id"] == name
        assert http.get(f"/v2/models/{name}/ready").json() == {"ready": True}


def test_every_name_is_listed_and_the_first_is_the_models_own(with_aliases: RuntimeServer) -> None:
    with with_aliases.http() as http:
        listed = http.get("/v1/models").json()
        assert http.get("/info").json()["model_id"] == NAME
    assert [model["id"] for model in listed["data"]] == [NAME, "text-embedding-3-small", "org/name"]
    assert len({model["space"] for model in listed["data"]}) == 1
    answer = with_aliases.post("/v1/embeddings", model="gpt", input="a")
    assert (answer.status_code, NAME in answer.text) == (404, True)


@pytest.mark.parametrize("prefix", ["", "/v1", "/openai/v1"])
def test_openais_paths_are_at_the_root_too(fake_server: RuntimeServer, prefix: str) -> None:
    with fake_server.http() as http:
        assert http.get(f"{prefix}/models").json()["data"][0]["id"] == NAME
    assert len(fake_server.post(f"{prefix}/embeddings", input="a").json()["data"]) == 1


def test_every_get_has_its_head_without_a_body(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        paths = [path for path, methods in http.get("/openapi.json").json()["paths"].items() if "get" in methods]
        for path in paths:
            answer = http.head(path.replace("{name}", NAME))
            assert (answer.status_code, answer.content) == (200, b""), path
            assert answer.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/ping", "/v2/health/live"])
def test_probes_need_no_key_whatever_their_method(tmp_path: Path, path: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text("somebody a-key-of-some-length\n")
    with RuntimeServer("fake", api_keys_file=keys) as server, server.ready().http() as http:
        assert (http.get(path).status_code, http.head(path).status_code) == (200, 200)
        assert http.head("/v1/models").status_code == 401


INVOCATIONS = [
    ("/v1/embeddings", {"input": "a"}),
    ("/v2/embed", {"texts": ["a"]}),
    ("/embed", {"inputs": ["a", "b"]}),
    ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}),
]
INVOCATIONS_OF_PAIRS = [
    ("/rerank", {"query": "a", "texts": ["b", "c"]}),
    ("/rerank", {"query": "a", "documents": ["b", "c"]}),
    ("/score", {"text_1": "a", "text_2": "b"}),
    ("/predict", {"inputs": [["a", "b"]]}),
    ("/classify", {"input": ["a"]}),
]


def without_chance(answer: Any) -> Any:
    if not isinstance(answer, dict):
        return answer
    return {name: value for name, value in answer.items() if name not in {"id", "created"}}


@pytest.mark.parametrize(("path", "body"), INVOCATIONS, ids=[path for path, _ in INVOCATIONS])
def test_invocations_accept_requests_of_other_paths(
    fake_server: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    answer = fake_server.post("/invocations", **body)
    assert answer.status_code == 200, answer.text
    assert without_chance(answer.json()) == without_chance(fake_server.post(path, **body).json())


@pytest.mark.parametrize(("path", "body"), INVOCATIONS_OF_PAIRS)
def test_invocations_of_a_cross_encoder_accept_requests_of_other_paths(
    cross_encoder: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    answer = cross_encoder.post("/invocations", **body)
    assert answer.status_code == 200, answer.text
    assert without_chance(answer.json()) == without_chance(cross_encoder.post(path, **body).json())


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "input is required"),
        ({"inputs": 3}, "inputs: must be"),
        ({"input": "a", "zzz": 1}, "zzz: unknown field"),
    ],
)
def test_invalid_invocations_have_openais_error_format(
    fake_server: RuntimeServer, body: dict[str, Any], words: str
) -> None:
    answer = fake_server.post("/invocations", **body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": [LONG, "a", LONG], "truncate": True}),
        ("/v1/embeddings", {"input": [LONG, "a", LONG], "truncate_prompt_tokens": 200}),
        ("/embed", {"inputs": [LONG, "a", LONG], "truncate": True}),
        ("/v2/embed", {"texts": [LONG, "a", LONG]}),
    ],
)
def test_a_header_has_the_number_of_truncated_inputs(
    fake_server: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    answer = fake_server.post(path, **body)
    assert (answer.status_code, answer.headers["X-Truncated"]) == (200, "2")


def test_the_inputs_that_were_cut_are_marked(fake_server: RuntimeServer) -> None:
    data = fake_server.post("/v1/embeddings", input=[LONG, "a", LONG], truncate=True).json()["data"]
    assert [item.get("truncated") for item in data] == [True, None, True]


def test_without_truncation_nothing_is_reported(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/v2/embed", texts=["a"])
    assert "X-Truncated" not in answer.headers
    assert "warnings" not in answer.json()["meta"]
    refused = fake_server.post("/v1/embeddings", input=LONG)
    assert (refused.status_code, "X-Truncated" in refused.headers) == (400, False)


def test_truncated_pairs_are_reported(cross_encoder: RuntimeServer) -> None:
    long = "one " * 600
    ranked = cross_encoder.post("/v2/rerank", query="a", documents=["b", long])
    assert ranked.headers["X-Truncated"] == "1"
    assert ranked.json()["meta"]["warnings"] == ["documents[1] was longer than the model's maximum and was truncated"]
    scored = cross_encoder.post("/score", text_1="a", text_2=["b", long], truncate=True).json()
    assert [item.get("truncated") for item in scored["data"]] == [None, True]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": "a " * 700_000}),
        ("/v1/embeddings", {"input": ["b", "x" * 3_500_000], "truncate": True}),
        ("/v2/embed", {"texts": ["x" * 3_500_000]}),
        ("/embed", {"inputs": "x" * 3_500_000}),
        ("/tokenize", {"prompt": "x" * 3_500_000}),
    ],
)
def test_the_remedy_for_one_long_text_is_not_several_requests(
    fake_server: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    answer = fake_server.post(path, **body)
    assert "the maximum is 600000 (2 for each of --max_request_tokens): split or shorten it" in answer.text


def test_a_body_that_is_too_large_may_be_one_text_and_the_remedy_fits_that_too(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/v1/embeddings", input="x" * 5_000_000)
    assert answer.status_code == 413
    assert "larger than 4194304 bytes (--max_body_bytes): send fewer or shorter texts" in answer.text
