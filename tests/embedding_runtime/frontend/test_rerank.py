"""Scores of pairs from a cross-encoder on the fake backend."""

from collections.abc import Iterator
from typing import Any

import pytest

from embedding_runtime.frontend.dialects.rerank.schema import RerankRequest
from embedding_runtime.frontend.dialects.tei.schema import TeiRerankRequest
from support.models import a_cross_encoder
from support.runtime_server import NAME, RuntimeServer

QUERY, TEXTS = "what sleeps?", ["cats do", "stones do not", "dogs, too", "so they say"]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path_factory.mktemp("cross-encoder"))) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def scores(server: RuntimeServer) -> list[float]:
    answer = server.post("/v1/score", model=NAME, text_1=QUERY, text_2=TEXTS).json()
    assert [item["index"] for item in answer["data"]] == [0, 1, 2, 3]
    return [item["score"] for item in answer["data"]]


@pytest.mark.parametrize("path", ["/openai/v1/rerank", "/v1/rerank", "/v2/rerank"])
def test_the_best_documents_come_first(server: RuntimeServer, scores: list[float], path: str) -> None:
    answer = server.post(path, model=NAME, query=QUERY, documents=TEXTS).json()
    found = [(item["index"], item["relevance_score"]) for item in answer["results"]]
    assert found == sorted(enumerate(scores), key=lambda item: -item[1])


def test_texts_are_returned_on_request(server: RuntimeServer, scores: list[float]) -> None:
    documents = [TEXTS[0], *({"text": text} for text in TEXTS[1:])]
    answer = server.post(
        "/v1/rerank", model=NAME, query=QUERY, documents=documents, top_n=2, return_documents=True
    ).json()
    assert [item["document"]["text"] for item in answer["results"]] == [
        TEXTS[place] for place in sorted(range(4), key=lambda place: -scores[place])[:2]
    ]


def test_rankings_of_tei_have_its_format(server: RuntimeServer, scores: list[float]) -> None:
    ranked = server.post("/rerank", query=QUERY, texts=TEXTS, return_text=True).json()
    assert ranked[0] == {"index": scores.index(max(scores)), "score": max(scores), "text": ranked[0]["text"]}
    assert [item["text"] for item in ranked] == [TEXTS[item["index"]] for item in ranked]


def test_the_root_takes_documents_as_vllm_does(server: RuntimeServer) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    found = server.post("/rerank", **body).json()["results"]
    assert found == server.post("/v1/rerank", model=NAME, **body).json()["results"]
    assert server.post("/rerank", texts=TEXTS, **body).status_code == 422


@pytest.mark.parametrize(
    "body",
    [
        {"text_1": [QUERY], "text_2": TEXTS},
        {"text_1": [QUERY] * 4, "text_2": TEXTS},
        {"queries": QUERY, "documents": TEXTS},
    ],
)
def test_score_accepts_vllms_forms_of_pairs(server: RuntimeServer, scores: list[float], body: dict[str, Any]) -> None:
    answer = server.post("/openai/v1/score", model=NAME, **body).json()
    assert [item["score"] for item in answer["data"]] == scores


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"text_1": "a"}, "either text_1 and text_2, or queries and documents are required"),
        ({"text_1": "a", "documents": ["b"]}, "either text_1 and text_2, or queries and documents are required"),
        ({"text_1": ["a", "b"], "text_2": ["a", "b", "c"]}, "text_1 has 2 texts, but text_2 has 3"),
        ({"text_1": "a", "text_2": "one " * 600}, "text_2[0] has 604 tokens; the model's maximum is 512"),
        ({"text_1": "a", "text_2": []}, "text_2 is an empty list"),
        ({"text_1": 3, "text_2": "a"}, "text_1: must be a string or a list of strings"),
    ],
)
def test_invalid_pairs_are_rejected(server: RuntimeServer, body: dict[str, Any], words: str) -> None:
    answer = server.post("/v1/score", model=NAME, **body)
    assert answer.status_code == 400
    assert words in answer.json()["error"]["message"]


def test_a_long_pair_is_truncated_in_rankings_as_in_cohere(server: RuntimeServer) -> None:
    body = {"model": NAME, "query": QUERY, "documents": ["one " * 600]}
    assert server.post("/v2/rerank", **body).json()["usage"]["total_tokens"] == 512
    assert server.post("/v2/rerank", truncate=False, **body).status_code == 400


@pytest.mark.parametrize(
    "other",
    [{"use_activation": False}, {"activation": False}, {"max_tokens_per_doc": 100}],
    ids=lambda asked: next(iter(asked)),
)
def test_fields_that_would_change_scores_are_rejected_by_name(server: RuntimeServer, other: dict[str, Any]) -> None:
    answer = server.post("/v2/rerank", model=NAME, query=QUERY, documents=TEXTS, **other)
    assert answer.status_code == 400
    assert next(iter(other)) in answer.text


def test_harmless_fields_of_scores_are_accepted(server: RuntimeServer) -> None:
    body = {"model": NAME, "query": QUERY, "documents": TEXTS}
    said = server.post("/v2/rerank", use_activation=True, max_tokens_per_doc=4096, **body).json()["results"]
    assert said == server.post("/v2/rerank", **body).json()["results"]


@pytest.mark.parametrize("path", ["/v2/rerank", "/rerank", "/invocations"])
@pytest.mark.parametrize(
    "other", [{"rank_fields": ["text"]}, {"return_embeddings": False}], ids=lambda it: next(iter(it))
)
def test_every_path_accepts_harmless_fields_of_rankings(
    server: RuntimeServer, path: str, other: dict[str, Any]
) -> None:
    body = {"query": QUERY, "documents": TEXTS}
    assert server.post(path, **other, **body).json()["results"] == server.post(path, **body).json()["results"]


def test_rerank_at_the_root_knows_every_field_of_the_other_paths() -> None:
    other, root = RerankRequest, TeiRerankRequest
    assert other.model_fields.keys() <= root.model_fields.keys()
    assert other.refused.keys() <= root.refused.keys() | root.model_fields.keys()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/score", {"text_1": QUERY, "text_2": TEXTS}),
        ("/v1/rerank", {"query": QUERY, "documents": TEXTS}),
        ("/rerank", {"query": QUERY, "documents": TEXTS}),
    ],
    ids=["score", "rerank", "at the root"],
)
def test_contradicting_truncation_fields_are_rejected(server: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = server.post(path, truncate=False, truncate_prompt_tokens=-1, **body)
    assert (answer.status_code, "remove one of them" in answer.text) == (422 if path == "/rerank" else 400, True)


def test_info_describes_the_model_as_tei_does(server: RuntimeServer) -> None:
    with server.http() as http:
        assert http.get("/info").json()["model_type"] == {"reranker": {"labels": 1}}


def test_a_cross_encoder_has_no_vectors(server: RuntimeServer) -> None:
    answer = server.embeddings(input="a")
    assert answer.status_code == 400
    assert "/v1/rerank" in answer.json()["error"]["message"]


def test_an_embedding_model_does_not_score_pairs(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/v1/rerank", model=NAME, query=QUERY, documents=TEXTS)
    assert answer.status_code == 400
    assert "/v1/embeddings" in answer.json()["message"]


def test_open_inference_accepts_pairs(server: RuntimeServer, scores: list[float]) -> None:
    with server.http() as http:
        model = http.get(f"/v2/models/{NAME}").json()
    assert model["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1, 2]}]
    assert model["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1, 1]}]
    pairs = {"name": "text", "datatype": "BYTES", "shape": [4, 2], "data": [[QUERY, text] for text in TEXTS]}
    (output,) = server.post(f"/v2/models/{NAME}/infer", inputs=[pairs]).json()["outputs"]
    assert output == {"name": "score", "datatype": "FP32", "shape": [4, 1], "data": scores}
    answer = server.post(f"/v2/models/{NAME}/infer", inputs=[{**pairs, "shape": [8]}])
    assert (answer.status_code, "[pairs, 2]" in answer.json()["error"]) == (400, True)


def test_an_invalid_document_has_one_error(server: RuntimeServer) -> None:
    answer = server.post("/v1/rerank", model=NAME, query=QUERY, documents=[3])
    assert answer.json()["message"] == ("documents[0]: must be a string, or an object with text, in valid Unicode")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/rerank", {"query": QUERY, "documents": TEXTS}),
        ("/v1/score", {"text_1": QUERY, "text_2": TEXTS}),
    ],
)
def test_an_instruction_is_refused_for_a_model_without_a_place_for_it(
    server: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    answer = server.post(path, instruction="be kind", **body)
    assert answer.status_code == 400
    assert "instruction: this model has no place for an instruction: put the instruction into the query" in answer.text
