"""Prompts, truncation and dimensions by request, compared with sentence-transformers on a tiny model."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.runtime_server import RuntimeServer

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

tiny = pytest.importorskip("support.tiny_models")

TEXTS = ["the quick brown fox", "a", "lazy dog " * 100]
PROMPTS = {"query": "query: ", "passage": "passage: ", "other": "over the lazy dog "}


@dataclass(frozen=True)
class Served:
    server: RuntimeServer
    reference: Any
    """sentence-transformers, with the same model."""

    def vectors(self, **options: Any) -> npt.NDArray[np.float64]:
        answer = self.server.embeddings(input=TEXTS, truncate=True, **options)
        assert answer.status_code == 200, answer.text
        return np.array([item["embedding"] for item in answer.json()["data"]])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    where = tmp_path_factory.mktemp("prompted")
    body = tiny.a_transformer(where / "body", tiny.SHAPES["bert"])
    model = tiny.saved(where / "model", body, steps=[tiny.Normalize()], prompts=PROMPTS, default_prompt_name="other")
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps({**config, "matryoshka_dimensions": [8, 16, 32]}))
    with RuntimeServer("huggingface", model=Path(model)) as server:
        reference = tiny.SentenceTransformer(str(model), device="cpu")
        yield Served(server.ready(), reference)


def assert_alike(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> None:
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    assert ((one * other).sum(axis=1) / norms).min() >= 0.9999
    assert np.allclose(norms, 1)


@pytest.mark.parametrize("name", [None, *PROMPTS])
def test_a_prompt_by_name_gives_the_vectors_of_encode(served: Served, name: str | None) -> None:
    assert_alike(served.vectors(prompt_name=name), served.reference.encode(TEXTS, prompt_name=name))


def test_a_query_has_the_vector_of_encode_query(served: Served) -> None:
    assert_alike(served.vectors(input_type="search_query"), served.reference.encode_query(TEXTS))


def test_a_document_gets_the_models_own_prompt_for_it(served: Served) -> None:
    assert_alike(served.vectors(input_type="document"), served.reference.encode(TEXTS, prompt_name="passage"))


@pytest.mark.parametrize("size", [8, 16, 32])
def test_a_truncated_vector_equals_that_of_encode(served: Served, size: int) -> None:
    reference = served.reference.encode(TEXTS, truncate_dim=size, normalize_embeddings=True)
    found = served.vectors(dimensions=size)
    assert found.shape == (len(TEXTS), size)
    assert_alike(found, reference)


def test_a_cut_text_keeps_its_prompt_and_the_tokens_around_it(served: Served) -> None:
    answer = served.server.embeddings(input=TEXTS[2], truncate=True, prompt_name="query").json()
    assert answer["usage"]["prompt_tokens"] == tiny.MAX_LENGTH


def test_another_size_is_rejected_with_the_valid_ones(served: Served) -> None:
    answer = served.server.embeddings(input="a", dimensions=20)
    assert answer.status_code == 400
    assert "can be truncated to 8, 16" in answer.json()["error"]["message"]


def test_an_unknown_prompt_is_rejected_with_the_valid_ones(served: Served) -> None:
    answer = served.server.embeddings(input="a", prompt_name="question")
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "prompt_name")
    assert "document, other, passage, query" in answer.json()["error"]["message"]


def test_the_model_list_has_prompts_and_sizes(served: Served) -> None:
    (model,) = served.server.client().models.list().data
    said = model.model_dump()
    assert (said["prompts"], said["prompt"], said["sizes"]) == ({"document": "", **PROMPTS}, PROMPTS["other"], [8, 16])
