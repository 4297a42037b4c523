"""A reranker that is a language model, over HTTP, compared with CrossEncoder."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.runtime_server import RuntimeServer

# Words between libraries while sentence-transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

llms = pytest.importorskip("support.llm_rerankers")

QUERY, TEXTS = "which fox?", ["the quick brown fox", "a lazy dog", "over and over " * 100, ""]
PROMPT = {"prompts": {"query": "Find the fox"}, "default_prompt_name": "query"}


class Served(NamedTuple):
    server: RuntimeServer
    reference: Any

    def wanted(self, prompt: str | None = None) -> list[float]:
        pairs = [(QUERY, text) for text in TEXTS]
        return [float(self.reference.predict([pair], prompt=prompt, show_progress_bar=False)[0]) for pair in pairs]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    model: Path = llms.a_reranker(tmp_path_factory.mktemp("reranker"), llms.Llm(options=PROMPT))
    with RuntimeServer("huggingface", model=model) as server:
        reference = llms.CrossEncoder(str(model), device="cpu")
        yield Served(server.ready(), reference)


@pytest.mark.parametrize("instruction", [None, "Find the dog"])
@pytest.mark.parametrize("path", ["/v1/rerank", "/rerank"])
def test_documents_are_ranked_as_cross_encoder_ranks_them(served: Served, path: str, instruction: str | None) -> None:
    answer = served.server.post(path, query=QUERY, documents=TEXTS, instruction=instruction)
    assert answer.status_code == 200, answer.text
    scores = {item["index"]: item["relevance_score"] for item in answer.json()["results"]}
    assert [scores[place] for place in range(len(TEXTS))] == pytest.approx(served.wanted(instruction), abs=1e-5)
    assert answer.headers["X-Truncated"] == "1"


@pytest.mark.parametrize(
    ("path", "fields"),
    [
        ("/v1/score", {"text_1": QUERY, "text_2": TEXTS, "truncate": True, "instruction": "Find the dog"}),
        ("/rerank", {"query": QUERY, "texts": TEXTS, "truncate": True, "instruction": "Find the dog"}),
    ],
)
def test_scores_obey_an_instruction(served: Served, path: str, fields: dict[str, Any]) -> None:
    answer = served.server.post(path, **fields)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    items = found["data"] if isinstance(found, dict) else found
    scores = [item["score"] for item in sorted(items, key=lambda item: int(item["index"]))]
    assert scores == pytest.approx(served.wanted("Find the dog"), abs=1e-5)


def test_a_pair_that_is_too_long_is_refused_by_default(served: Served) -> None:
    answer = served.server.post("/v1/score", text_1=QUERY, text_2=TEXTS)
    assert answer.status_code == 400
    assert "text_2[2] has" in answer.json()["error"]["message"]


def test_single_texts_are_refused(served: Served) -> None:
    answer = served.server.post("/classify", input="a text")
    assert answer.status_code == 400
    assert "send pairs of texts" in answer.json()["error"]["message"]
