"""Labels of texts and pairs (TEI's /predict, vLLM's /classify), compared with transformers; decoding of tokens."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from support.models import a_cross_encoder
from support.runtime_server import NAME, RuntimeServer

# Words between libraries while transformers is imported and loads.
pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

torch = pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")

NAMES = ["contradiction", "entailment", "neutral"]
TEXTS = ["a quick brown fox", "the lazy dog", "jumps over the dog " * 3]
PAIRS = [["a fox", "the lazy dog"], ["the dog", "a fox jumps"]]


class Reference:
    """A classifier with three labels, as transformers computes it."""

    def __init__(self, directory: Any) -> None:
        said = {"id2label": dict(enumerate(NAMES)), "label2id": {name: place for place, name in enumerate(NAMES)}}
        self.path = tiny.a_cross_encoder(directory / "plain", tiny.SHAPES["bert"], 3, said)
        self.model = tiny.CrossEncoder(str(self.path), device="cpu")

    def logits(self, *texts: str) -> npt.NDArray[Any]:
        """Of one text, or of one pair."""
        length = self.model.max_seq_length
        inputs = self.model.tokenizer(*texts, truncation=True, max_length=length, return_tensors="pt")
        with torch.no_grad():
            found: npt.NDArray[Any] = self.model.model(**inputs).logits[0].numpy()
        return found

    def probabilities(self, *texts: str) -> npt.NDArray[Any]:
        found: npt.NDArray[Any] = torch.from_numpy(self.logits(*texts)).softmax(0).numpy()
        return found


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Reference:
    return Reference(tmp_path_factory.mktemp("classifier"))


@pytest.fixture(scope="module")
def server(reference: Reference) -> Iterator[RuntimeServer]:
    with RuntimeServer("huggingface", model=reference.path) as server:
        yield server.ready()


@pytest.fixture(scope="module")
def reranker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path_factory.mktemp("reranker"))) as server:
        yield server.ready()


def assert_predicted(found: list[dict[str, Any]], wanted: npt.NDArray[Any]) -> None:
    assert [item["label"] for item in found] == [NAMES[place] for place in np.argsort(-wanted)]
    assert np.abs(np.array([item["score"] for item in found]) - np.sort(wanted)[::-1]).max() < 1e-5


@pytest.mark.parametrize("path", ["/predict", "/"])
def test_a_text_gets_its_labels_the_likeliest_first(server: RuntimeServer, reference: Reference, path: str) -> None:
    assert_predicted(server.post(path, inputs=TEXTS[0]).json(), reference.probabilities(TEXTS[0]))


def test_a_flat_list_is_a_pair_as_in_tei(server: RuntimeServer, reference: Reference) -> None:
    assert_predicted(server.post("/predict", inputs=PAIRS[0]).json(), reference.probabilities(*PAIRS[0]))


def test_a_batch_has_texts_and_pairs(server: RuntimeServer, reference: Reference) -> None:
    inputs = [[TEXTS[0]], *PAIRS, [TEXTS[2]]]
    found = server.post("/predict", inputs=inputs).json()
    assert len(found) == 4
    for each, given in zip(found, inputs, strict=True):
        assert_predicted(each, reference.probabilities(*given))


def test_raw_scores_are_the_logits(server: RuntimeServer, reference: Reference) -> None:
    assert_predicted(server.post("/predict", inputs=PAIRS[1], raw_scores=True).json(), reference.logits(*PAIRS[1]))


def test_vllms_classify_returns_the_likeliest_label_and_all_probabilities(
    server: RuntimeServer, reference: Reference
) -> None:
    answer = server.post("/classify", input=TEXTS).json()
    assert answer["model"] == NAME
    for item, text in zip(answer["data"], TEXTS, strict=True):
        wanted = reference.probabilities(text)
        assert (item["label"], item["num_classes"]) == (NAMES[int(wanted.argmax())], 3)
        assert np.abs(np.array(item["probs"]) - wanted).max() < 1e-5
    logits = server.post("/classify", input=TEXTS[0], use_activation=False).json()["data"][0]["probs"]
    assert np.abs(np.array(logits) - reference.logits(TEXTS[0])).max() < 1e-5


def test_a_long_text_is_rejected_or_truncated_as_requested(server: RuntimeServer, reference: Reference) -> None:
    long = "the lazy dog " * reference.model.max_seq_length
    assert server.post("/predict", inputs=long).status_code == 413
    cut = server.post("/predict", inputs=long, truncate=True)
    assert cut.headers["X-Truncated"] == "1"
    assert_predicted(cut.json(), reference.probabilities(long))


def test_a_reranker_gives_one_label_its_score(reranker: RuntimeServer) -> None:
    (found,) = reranker.post("/predict", inputs=["a", "b"]).json()
    score = reranker.post("/score", text_1="a", text_2="b").json()["data"][0]["score"]
    assert found == {"label": "LABEL_0", "score": score}


def test_raw_scores_of_a_model_with_an_activation_are_its_logits(reranker: RuntimeServer) -> None:
    (logit,) = reranker.post("/predict", inputs=["a", "b"], raw_scores=True).json()
    (found,) = reranker.post("/predict", inputs=["a", "b"]).json()
    assert found["score"] == pytest.approx(1 / (1 + np.exp(-logit["score"])))


def test_raw_scores_of_teis_rerank_are_the_same_logits(reranker: RuntimeServer) -> None:
    texts = ["b", "c"]
    wanted = {text: reranker.post("/predict", inputs=["a", text], raw_scores=True).json()[0]["score"] for text in texts}
    found = reranker.post("/rerank", query="a", texts=texts, raw_scores=True, return_text=True).json()
    assert {item["text"]: item["score"] for item in found} == wanted
    assert found[0]["score"] > found[1]["score"]


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/rerank", {"query": "a", "texts": ["b"]}, 424),
        ("/v1/rerank", {"query": "a", "documents": ["b"]}, 400),
        ("/v1/score", {"text_1": "a", "text_2": "b"}, 400),
    ],
)
def test_three_labels_rank_nothing_and_the_answer_names_the_paths_that_have_them(
    server: RuntimeServer, path: str, body: dict[str, Any], status: int
) -> None:
    answer = server.post(path, **body)
    assert answer.status_code == status
    assert "has 3 labels, so a pair has no single score: use POST /predict (TEI)" in answer.text
    assert "POST /classify (vLLM) for those of texts" in answer.text
    assert "/infer" not in answer.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/predict", {"inputs": ["a", "b"]}, 424),
        ("/rerank", {"query": "a", "texts": ["b"]}, 424),
        ("/classify", {"input": "a"}, 400),
        ("/embed", {"inputs": ["a"] * 2049}, 413),
        ("/embed", {"inputs": "one " * 300}, 413),
        ("/embed", {"inputs": {}}, 422),
        ("/embed", {}, 422),
        ("/predict", {"inputs": [["a", "b", "c"]]}, 422),
        ("/predict", {"inputs": []}, 424),
        ("/", {"inputs": 3}, 422),
    ],
)
def test_teis_paths_have_teis_status_codes(
    fake_server: RuntimeServer, path: str, body: dict[str, Any], status: int
) -> None:
    assert fake_server.post(path, **body).status_code == status


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"parameters": {"normalise": True}}, "parameters: unknown field normalise; valid fields: truncate,"),
        (
            {"inputs": {"source_sentence": "a", "sentences": ["b"], "top": 1}},
            "inputs: unknown field top; valid fields:",
        ),
    ],
)
def test_unknown_fields_within_a_similarity_request_are_rejected_by_name(
    fake_server: RuntimeServer, given: dict[str, Any], words: str
) -> None:
    answer = fake_server.post("/similarity", **{"inputs": {"source_sentence": "a", "sentences": ["b"]}, **given})
    assert answer.status_code == 422
    assert words in answer.text


def test_similarity_is_the_cosine_of_the_vectors(fake_server: RuntimeServer) -> None:
    rows = np.array(fake_server.post("/embed", inputs=["a", "b", "c"]).json())
    inputs = {"source_sentence": "a", "sentences": ["b", "c", "a"]}
    found = fake_server.post("/similarity", inputs=inputs, parameters={"truncate": True}).json()
    assert np.abs(np.array(found) - [rows[0] @ rows[1], rows[0] @ rows[2], 1]).max() < 1e-6


def test_tokens_become_texts_again(fake_server: RuntimeServer) -> None:
    ids = fake_server.post("/tokenize", prompt="hello there").json()["tokens"]
    assert fake_server.post("/decode", ids=ids).json() == ["hello there"]
    assert fake_server.post("/decode", ids=[ids, ids[:2]], skip_special_tokens=False).json() == [
        "[CLS] hello there [SEP]",
        "[CLS] hello",
    ]
    assert fake_server.post("/detokenize", tokens=ids).json() == {"prompt": "[CLS] hello there [SEP]"}


@pytest.mark.parametrize("id_", [30522, 2**32, 2**70])
def test_an_unknown_token_id_is_rejected(fake_server: RuntimeServer, id_: int) -> None:
    answer = fake_server.post("/detokenize", tokens=[101, id_])
    assert answer.status_code == 400
    assert f"tokens: the tokenizer has no token with the id {id_}" in answer.json()["error"]["message"]
