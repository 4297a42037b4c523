"""--truncate and --matryoshka: defaults of the service's owner, compared with encode.

The clients of RAG tools cannot be told to send a field.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.models import a_cross_encoder
from support.runtime_server import NAME, RuntimeServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

tiny = pytest.importorskip("support.tiny_models")

LONG = "the quick brown fox jumps over the lazy dog " * 40
TEXTS = ["a", LONG, "lazy dog", LONG[4:]]
PROMPTS = {"query": "query: ", "passage": "passage: "}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("long-texts")
    body = tiny.a_transformer(where / "body", tiny.SHAPES["bert"])
    saved: Path = tiny.saved(
        where / "model", body, steps=[tiny.Normalize()], prompts=PROMPTS, default_prompt_name="passage"
    )
    return saved


@pytest.fixture(scope="module")
def reference(model: Path) -> Any:
    return tiny.SentenceTransformer(str(model), device="cpu")


@pytest.fixture(scope="module")
def server(model: Path) -> Iterator[RuntimeServer]:
    with RuntimeServer("huggingface", model=model, truncate="end", matryoshka="8,16") as server:
        yield server.ready()


@pytest.fixture(scope="module")
def cuts_the_start(model: Path) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=model, truncate="start") as server:
        yield server.ready()


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path_factory.mktemp("reranker")), truncate="end") as server:
        yield server.ready()


def rows_of(path: str, answer: dict[str, Any] | list[Any]) -> npt.NDArray[np.float64]:
    """The vectors of an answer, in whichever form the path has them."""
    if isinstance(answer, list):
        return np.array(answer)
    if "data" in answer:
        return np.array([item["embedding"] for item in answer["data"]])
    if "predictions" in answer:
        return np.array(answer["predictions"])
    if "outputs" in answer:
        return np.array(answer["outputs"][0]["data"]).reshape(answer["outputs"][0]["shape"])
    assert path == "/v2/embed"
    return np.array(answer["embeddings"]["float"])


def cosines(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: npt.NDArray[np.float64] = (one * other).sum(axis=1) / norms
    return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": TEXTS}),
        ("/embed", {"inputs": TEXTS}),
        ("/v2/embed", {"texts": TEXTS}),
        (f"/v1/models/{NAME}:predict", {"instances": TEXTS}),
        (
            f"/v2/models/{NAME}/infer",
            {"inputs": [{"name": "text", "datatype": "BYTES", "shape": [len(TEXTS)], "data": TEXTS}]},
        ),
    ],
)
def test_a_long_text_is_truncated_as_in_encode_on_every_path(
    server: RuntimeServer, reference: Any, path: str, body: dict[str, Any]
) -> None:
    answer = server.post(path, **body)
    assert (answer.status_code, answer.headers["X-Truncated"]) == (200, "2")
    assert cosines(rows_of(path, answer.json()), reference.encode(TEXTS)).min() >= 0.9999


def test_a_truncated_text_keeps_its_prompt(server: RuntimeServer, reference: Any) -> None:
    answer = server.embeddings(input=TEXTS, prompt_name="query").json()
    assert cosines(rows_of("", answer), reference.encode(TEXTS, prompt_name="query")).min() >= 0.9999
    assert [item.get("truncated") for item in answer["data"]] == [None, True, None, True]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": LONG, "truncate": False}),
        ("/v1/embeddings", {"input": LONG, "truncate": "NONE"}),
        ("/embed", {"inputs": LONG, "truncate": False}),
        ("/v2/embed", {"texts": [LONG], "truncate": "NONE"}),
    ],
)
def test_a_request_that_disables_truncation_is_rejected(server: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = server.post(path, **body)
    assert answer.status_code in (400, 413)
    assert "the model's maximum is 96" in answer.text


@pytest.mark.parametrize(
    ("path", "body"),
    [("/v1/embeddings", {"input": LONG}), ("/embed", {"inputs": LONG}), ("/v2/embed", {"texts": [LONG]})],
)
def test_truncate_start_truncates_the_start(cuts_the_start: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    unsaid, start, end = (
        rows_of(path, cuts_the_start.post(path, **body, **said).json()) if said is not None else None
        for said in (
            {},
            {"truncate": True, "truncation_direction": "left"} if path == "/embed" else {"truncate": "START"},
            {"truncate": True} if path == "/embed" else {"truncate": "END"},
        )
    )
    assert np.array_equal(unsaid, start)
    assert not np.array_equal(unsaid, end)


@pytest.mark.parametrize("size", [8, 16])
def test_a_size_of_the_flag_gives_the_vectors_of_encode(server: RuntimeServer, reference: Any, size: int) -> None:
    found = rows_of("", server.embeddings(input=TEXTS, dimensions=size).json())
    assert found.shape == (len(TEXTS), size)
    assert np.allclose(np.linalg.norm(found, axis=1), 1)
    assert cosines(found, reference.encode(TEXTS, truncate_dim=size)).min() >= 0.9999


def test_the_model_list_has_the_owners_defaults(server: RuntimeServer) -> None:
    with server.http() as http:
        (model,) = http.get("/v1/models").json()["data"]
        assert http.get("/info").json()["auto_truncate"] is True
    assert (model["sizes"], model["sizes_source"], model["truncate"]) == ([8, 16], "--matryoshka", "end")


def test_another_size_is_rejected_with_those_of_the_flag(server: RuntimeServer) -> None:
    answer = server.embeddings(input="a", dimensions=20)
    assert "can be truncated to 8, 16" in answer.json()["error"]["message"]


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/score", {"text_1": "a", "text_2": LONG * 3}),
        ("/rerank", {"query": "a", "texts": [LONG * 3]}),
        ("/predict", {"inputs": [["a", LONG * 3]]}),
        ("/classify", {"input": LONG * 3}),
    ],
)
def test_pairs_are_truncated_with_truncate_end(reranker: RuntimeServer, path: str, body: dict[str, Any]) -> None:
    answer = reranker.post(path, **body)
    assert (answer.status_code, answer.headers["X-Truncated"]) == (200, "1")
    if path != "/classify":
        assert reranker.post(path, **body, truncate=False).status_code in (400, 413)
