"""Requests of Weaviate, Milvus and Open WebUI, copied from their source code."""

import http.client
import json
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from support.models import a_cross_encoder, a_model, packaged_minilm
from support.runtime_server import NAME, RuntimeServer

QUERY, DOCUMENTS = "what sleeps?", ["cats", "stones", "dogs"]


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path_factory.mktemp("reranker"))) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def prompted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """With prompts for queries and passages, and vectors that may be cut."""
    prompts = {"query": "query: ", "passage": "passage: "}
    model = a_model(tmp_path_factory.mktemp("prompted"), config={"is_matryoshka": True}, defaults={"prompts": prompts})
    (model / "tokenizer.json").symlink_to(packaged_minilm() / "tokenizer.json")
    with RuntimeServer("fake", model=model) as server:
        yield server.ready()


def sent(server: RuntimeServer, path: str, body: object, **headers: str) -> tuple[int, Any]:
    """Send a request like Go's client: without a Content-Type unless it is in `headers`."""
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("POST", path, json.dumps(body), {"User-Agent": "Go-http-client/1.1", **headers})
    answer = connection.getresponse()
    status, content = answer.status, answer.read()
    connection.close()
    return status, json.loads(content)


def one_text(text: str, **config: object) -> dict[str, object]:
    """Weaviate's text2vec-transformers has one type for request and answer."""
    return {"text": text, "dims": 0, "vector": None, "error": "", "config": config}


def test_weaviates_transformers_module_gets_a_vector_for_a_text(prompted: RuntimeServer) -> None:
    status, found = sent(prompted, "/vectors", one_text("a", pooling_strategy="masked_mean", task_type="query"))
    assert (status, found["text"], found["dims"]) == (200, "a", 8)
    (wanted,) = prompted.embeddings(input="a", prompt_name="query").json()["data"]
    assert found["vector"] == wanted["embedding"]


def test_a_document_of_an_older_weaviate_is_a_passage(prompted: RuntimeServer) -> None:
    status, found = sent(prompted, "/vectors", one_text("a", task_type="document", other=None))
    assert status == 200
    assert found["vector"] == sent(prompted, "/vectors", one_text("a", task_type="passage"))[1]["vector"]


def test_weaviates_transformers_module_gets_vectors_for_a_batch(prompted: RuntimeServer) -> None:
    body = {"texts": DOCUMENTS, "config": {"task_type": "passage", "dimensions": 4}}
    status, found = sent(prompted, "/vectors", body, **{"Content-Type": "application/json"})
    assert (status, found["dims"]) == (200, 4)
    wanted = prompted.embeddings(input=DOCUMENTS, prompt_name="passage", dimensions=4).json()["data"]
    assert np.allclose(found["vectors"], [item["embedding"] for item in wanted])


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (one_text("one " * 300), "the model's maximum is 64"),
        ({"config": {}}, "exactly one of text and texts is required"),
        (one_text("a", task_type="poem"), "config.task_type: Input should be 'query', 'passage' or 'document'"),
        (one_text("a", taskType="query"), "config: unknown field taskType; valid fields: pooling_strategy, task_type"),
        (one_text("a", **{"a text of a user": 1}), "config: unknown field; valid fields: pooling_strategy"),
    ],
)
def test_errors_have_weaviates_format(prompted: RuntimeServer, body: dict[str, object], words: str) -> None:
    status, found = sent(prompted, "/vectors", body)
    assert status == 400
    assert words in found["error"]


def test_another_content_type_is_not_json(prompted: RuntimeServer) -> None:
    status, found = sent(prompted, "/vectors", one_text("a"), **{"Content-Type": "text/plain"})
    assert status == 400
    assert "application/json" in found["error"]


def test_weaviate_waits_for_readiness_and_reads_the_model(fake_server: RuntimeServer) -> None:
    with fake_server.http() as http:
        assert [http.get(f"/.well-known/{name}").status_code for name in ("live", "ready")] == [200, 200]
        assert http.get("/meta").json()["dimensions"] == 384


def test_weaviates_openai_module_gets_vectors(fake_server: RuntimeServer) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", "OpenAI-Organization": "none"}
    status, found = sent(
        fake_server, "/v1/embeddings", {"input": DOCUMENTS, "model": NAME, "dimensions": 384}, **headers
    )
    assert (status, len(found["data"])) == (200, 3)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (
            "/v1/embeddings",
            {"model": NAME, "input": DOCUMENTS, "encoding_format": "float", "dimensions": 384},
        ),  # OpenAI
        ("/v1/embeddings", {"input": DOCUMENTS, "encoding_format": "float"}),  # vLLM
        ("/embed", {"inputs": DOCUMENTS, "truncate": True, "truncation_direction": "Right"}),  # TEI
    ],
)
def test_milvus_providers_get_vectors(fake_server: RuntimeServer, path: str, body: dict[str, object]) -> None:
    status, found = sent(fake_server, path, body, **{"Content-Type": "application/json"})
    assert (status, len(found["data"] if isinstance(found, dict) else found)) == (200, 3)


def test_milvus_rankers_get_scores(reranker: RuntimeServer) -> None:
    headers = {"Content-Type": "application/json"}
    truncates = {"truncate": True, "truncation_direction": "Right"}
    _, tei = sent(reranker, "/rerank", {"query": QUERY, "texts": DOCUMENTS, **truncates}, **headers)
    _, vllm = sent(
        reranker, "/rerank", {"query": QUERY, "documents": DOCUMENTS, "truncate_prompt_tokens": -1}, **headers
    )
    found = {item["index"]: item["relevance_score"] for item in vllm["results"]}
    assert {item["index"]: item["score"] for item in tei} == found
    assert sorted(found) == [0, 1, 2]


USER = {"X-OpenWebUI-User-Name": "A", "X-OpenWebUI-User-Id": "1", "X-OpenWebUI-User-Role": "admin"}


def test_open_webui_embeds_lists(fake_server: RuntimeServer) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", **USER}
    status, found = sent(fake_server, "/v1/embeddings", {"input": DOCUMENTS, "model": NAME}, **headers)
    assert (status, [len(item["embedding"]) for item in found["data"]]) == (200, [384] * 3)


def test_open_webuis_external_reranker_gets_a_score_for_each_document(reranker: RuntimeServer) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer none", **USER}
    body = {"model": NAME, "query": QUERY, "documents": DOCUMENTS, "top_n": len(DOCUMENTS)}
    status, found = sent(reranker, "/v1/rerank", body, **headers)
    assert (status, sorted(item["index"] for item in found["results"])) == (200, [0, 1, 2])
