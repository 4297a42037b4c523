"""Sparse vectors and vectors of tokens over HTTP: TEI's /embed_sparse and /embed_all, vLLM's /pooling."""

import base64
from collections import Counter
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import BackendName
from embedding_runtime.errors import UnsupportedTask
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.pipeline.options import Options
from support.models import a_sparse_encoder
from support.played_worker import ANYBODY, a_worker
from support.runtime_server import NAME, RuntimeServer
from support.services import MINILM, a_service

TEXTS = ["hello", "hello there hello", "one two three"]


@pytest.fixture(scope="module")
def sparse_model(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return a_sparse_encoder(tmp_path_factory.mktemp("sparse"))


@pytest.fixture(scope="module")
def sparse(sparse_model: Any) -> Iterator[RuntimeServer]:
    """The fake backend counts the tokens of each text."""
    with RuntimeServer("fake", model=sparse_model) as server:
        yield server.ready()


def counted(server: RuntimeServer, text: str) -> list[dict[str, float]]:
    ids = server.post("/tokenize", prompt=text).json()["tokens"]
    return [{"index": index, "value": float(count)} for index, count in sorted(Counter(ids).items())]


@pytest.mark.parametrize("path", ["/embed_sparse", "/", "/invocations"])
def test_sparse_vectors_are_lists_of_index_and_value(sparse: RuntimeServer, path: str) -> None:
    answer = sparse.post(path, inputs=TEXTS)
    assert answer.json() == [counted(sparse, text) for text in TEXTS]
    assert sparse.post(path, inputs="hello").json() == [counted(sparse, "hello")]


def test_sparse_vectors_pass_several_frontends(sparse_model: Any) -> None:
    with RuntimeServer("fake", model=sparse_model, frontends=2, workers=2) as server:
        found = server.ready().post("/embed_sparse", inputs=TEXTS * 100).json()
        assert found == [counted(server, text) for text in TEXTS] * 100


def test_a_long_text_is_rejected_or_truncated_as_requested(sparse: RuntimeServer) -> None:
    assert sparse.post("/embed_sparse", inputs="one " * 300).status_code == 413
    cut = sparse.post("/embed_sparse", inputs="one " * 300, truncate=True)
    assert cut.headers["X-Truncated"] == "1"
    assert cut.json() == [counted(sparse, "one " * 254)]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/v1/embeddings", {"input": "a"}, 400),
        ("/v1/embeddings", {"input": "a", "dimensions": 64}, 400),
        ("/v1/embeddings", {"input": "a", "encoding_format": "base64"}, 400),
        ("/v2/embed", {"texts": ["a"], "embedding_types": ["int8"]}, 400),
        ("/embed", {"inputs": "a"}, 424),
        ("/embed_all", {"inputs": "a"}, 424),
        ("/similarity", {"inputs": {"source_sentence": "a", "sentences": ["b"]}}, 424),
        ("/pooling", {"input": "a", "task": "token_embed"}, 400),
        ("/vectors", {"text": "a"}, 400),
        (f"/v1/models/{NAME}:predict", {"instances": ["a"]}, 400),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, 400),
    ],
)
def test_paths_of_other_kinds_name_the_path_of_sparse_vectors(
    sparse: RuntimeServer, path: str, body: dict[str, Any], status: int
) -> None:
    answer = sparse.post(path, **body)
    assert (answer.status_code, "sparse encoder" in answer.text) == (status, True), answer.text
    assert "/embed_sparse" in answer.text


@pytest.mark.parametrize(
    ("field", "words"),
    [("normalize", "are not scaled"), ("dimensions", "cannot be truncated"), ("encoding_format", "list of objects")],
)
def test_options_of_dense_vectors_are_refused_by_name(sparse: RuntimeServer, field: str, words: str) -> None:
    answer = sparse.post("/embed_sparse", inputs="a", **{field: True})
    assert answer.status_code == 422
    assert f"{field} is not supported" in answer.json()["error"]
    assert words in answer.json()["error"]


def test_an_embedding_model_names_the_path_of_dense_vectors(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/embed_sparse", inputs="a")
    assert answer.status_code == 424
    assert "is an embedding model with dense vectors: use POST /v1/embeddings" in answer.json()["error"]


def test_the_kind_is_told(sparse: RuntimeServer) -> None:
    with sparse.http() as http:
        model = http.get("/v1/models").json()["data"][0]
        info = http.get("/info").json()
    assert (model["kind"], model["pooling"], model["dimensions"]) == ("sparse encoder", "splade", 30522)
    assert info["model_type"] == {"embedding": {"pooling": "splade"}}


def test_each_token_has_a_vector(fake_server: RuntimeServer) -> None:
    texts = fake_server.post("/embed_all", inputs=TEXTS).json()
    assert [np.array(text).shape for text in texts] == [(3, 384), (5, 384), (5, 384)]
    first, second, _ = texts
    assert second[1] == second[3] == first[1] != second[2]


def test_vllms_pooling_returns_vectors_of_tokens_in_its_form(fake_server: RuntimeServer) -> None:
    wanted = fake_server.post("/embed_all", inputs=TEXTS).json()
    answer = fake_server.post("/pooling", model=NAME, input=TEXTS, task="token_embed", use_activation=False).json()
    assert [item["data"] for item in answer["data"]] == wanted
    assert {key: answer["data"][1][key] for key in ("index", "object")} == {"index": 1, "object": "pooling"}
    assert (answer["object"], answer["model"], answer["id"][:8]) == ("list", NAME, "pooling-")
    assert answer["usage"] == {"prompt_tokens": 13, "total_tokens": 13}


def test_vllms_pooling_normalizes_vectors_of_tokens_by_default(fake_server: RuntimeServer) -> None:
    (item,) = fake_server.post("/pooling", input="hello there", task="token_embed").json()["data"]
    assert np.abs(np.linalg.norm(item["data"], axis=1) - 1).max() < 1e-6


def test_base64_has_all_numbers_of_a_text(fake_server: RuntimeServer) -> None:
    body: dict[str, Any] = {"input": "hello there", "task": "token_embed"}
    (listed,) = fake_server.post("/pooling", **body).json()["data"]
    (encoded,) = fake_server.post("/pooling", **body, encoding_format="base64").json()["data"]
    numbers = np.frombuffer(base64.b64decode(encoded["data"]), dtype="<f4").reshape(-1, 384)
    assert np.array_equal(numbers, np.array(listed["data"], dtype=np.float32))


def test_vllms_pooling_returns_one_vector_for_each_text_by_default(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/pooling", input=TEXTS).json()
    assert [item["data"] for item in answer["data"]] == fake_server.post("/embed", inputs=TEXTS).json()


def test_a_large_response_is_complete(fake_server: RuntimeServer) -> None:
    texts = ["one two three four five " * 30] * 8  # half a million numbers, written in a thread
    found = fake_server.post("/embed_all", inputs=texts).json()
    assert [np.array(text).shape for text in found] == [(152, 384)] * 8
    assert found[0] == fake_server.post("/embed_all", inputs=texts[0]).json()[0]


def test_a_response_larger_than_the_limit_is_refused_before_it_is_computed(fake_server: RuntimeServer) -> None:
    answer = fake_server.post("/embed_all", inputs=["one " * 250] * 200)
    assert answer.status_code == 413
    assert answer.json()["error"] == (
        "inputs: the response would take 590 MiB of memory, and the maximum is 256 MiB: send fewer or shorter texts"
    )


async def test_vllm_refuses_vectors_of_tokens_by_name() -> None:
    async with a_worker() as worker:
        service = a_service(worker.engine, backend=BackendName.VLLM)
        with pytest.raises(UnsupportedTask, match=r"served by vllm, .* use a server with --backend=huggingface"):
            await service.token_vectors(RequestContext("1", ANYBODY), "a", Options.of(MINILM), field="inputs")


@pytest.mark.parametrize(
    ("path", "field", "options"), [("/embed_all", "inputs", {}), ("/pooling", "input", {"task": "token_embed"})]
)
def test_a_huge_response_is_as_one_for_each_text(path: str, field: str, options: dict[str, str]) -> None:
    def vectors(text: list[Any] | dict[str, Any]) -> list[Any]:
        found: list[Any] = text if isinstance(text, list) else text["data"]
        return found

    texts = [f"{number} " * 250 for number in range(1, 31)]
    with RuntimeServer("fake") as server:
        huge = server.ready().post(path, **{field: texts}, **options)
        assert int(huge.headers["content-length"]) == len(huge.content) > 20_000_000
        found = vectors(huge.json())
        for place in (0, 1, 29):
            (alone,) = vectors(server.post(path, **{field: texts[place : place + 1]}, **options).json())
            assert (found[place] if path == "/embed_all" else found[place]["data"]) == (
                alone if path == "/embed_all" else alone["data"]
            )
        assert server.post(path, **{field: "one"}, **options).status_code == 200
