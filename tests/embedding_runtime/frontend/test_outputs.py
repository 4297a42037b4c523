"""The field `output` of /v1/embeddings: BGE-M3's dense, sparse and ColBERT vectors in one response."""

import base64
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embedding_runtime.contract import BackendName, ServeArgs
from embedding_runtime.errors import BadRequest, UnsupportedTask
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.dialects.openai import outputs
from embedding_runtime.frontend.dialects.openai.schema import EmbeddingsRequest
from embedding_runtime.frontend.pipeline.options import Options
from embedding_runtime.model import ModelSpec
from embedding_runtime.protocol.requests import Output
from support.models import a_sparse_encoder, an_m3
from support.played_worker import ANYBODY, a_worker
from support.runtime_server import RuntimeServer
from support.services import a_service

TEXTS = ["hello", "hello there hello", "one two three"]
ALL = ["dense", "sparse", "colbert"]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_m3(tmp_path_factory.mktemp("m3"))


@pytest.fixture(scope="module")
def m3(model: Path) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=model, allow_pickle="true") as server:
        yield server.ready()


@pytest.fixture(scope="module")
def sparse(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    with RuntimeServer("fake", model=a_sparse_encoder(tmp_path_factory.mktemp("sparse"))) as server:
        yield server.ready()


def embedded(server: RuntimeServer, **body: Any) -> list[dict[str, Any]]:
    answer = server.post("/v1/embeddings", **body)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["data"]
    return found


def problem(server: RuntimeServer, **body: Any) -> tuple[str, str]:
    """The field and the message of a 400."""
    answer = server.post("/v1/embeddings", input="a", **body)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    return error["param"], error["message"]


def test_each_text_has_all_requested_outputs(m3: RuntimeServer) -> None:
    found = embedded(m3, input=TEXTS, output=ALL)
    dense = embedded(m3, input=TEXTS)
    for text, item, alone in zip(TEXTS, found, dense, strict=True):
        assert item["embedding"] == alone["embedding"]
        ids = m3.post("/tokenize", prompt=text).json()["tokens"]
        counted = [{"index": index, "value": float(count)} for index, count in sorted(Counter(ids).items())]
        assert item["sparse_embedding"] == counted
        assert np.array(item["colbert_embedding"]).shape == (len(ids), 384)
        assert set(item) == {"object", "index", "embedding", "sparse_embedding", "colbert_embedding"}


@pytest.mark.parametrize("output", [["dense"], ["sparse"], ["colbert"], ["colbert", "dense"], ["sparse", "sparse"]])
def test_only_requested_outputs_are_returned(m3: RuntimeServer, output: list[str]) -> None:
    (every,) = embedded(m3, input="hello there", output=ALL)
    (found,) = embedded(m3, input="hello there", output=output)
    names = {"dense": "embedding", "sparse": "sparse_embedding", "colbert": "colbert_embedding"}
    assert found == {name: every[name] for name in ("object", "index", *(names[each] for each in output))}


def test_a_repeated_output_counts_once(fake_server: RuntimeServer) -> None:
    (once,) = embedded(fake_server, input="a", embedding_type="binary")
    assert embedded(fake_server, input="a", embedding_type="binary", output=["dense", "dense"]) == [once]
    # A list of a quarter of a million outputs does not reach the event loop.
    assert EmbeddingsRequest(input="a", output=["sparse", "dense"] * 100_000).output == ["sparse", "dense"]


def test_all_outputs_pass_several_frontends(model: Path, m3: RuntimeServer) -> None:
    with RuntimeServer("fake", model=model, allow_pickle="true", frontends=2, workers=2) as server:
        found = embedded(server.ready(), input=TEXTS * 50, output=ALL)
    once = embedded(m3, input=TEXTS, output=ALL)
    assert found == [{**item, "index": index} for index, item in enumerate(once * 50)]


def test_base64_has_the_numbers_of_dense_and_colbert_vectors(m3: RuntimeServer) -> None:
    (listed,) = embedded(m3, input="hello there", output=ALL)
    (encoded,) = embedded(m3, input="hello there", output=ALL, encoding_format="base64")
    assert encoded["sparse_embedding"] == listed["sparse_embedding"]
    for name in ("embedding", "colbert_embedding"):
        numbers = np.frombuffer(base64.b64decode(encoded[name]), dtype="<f4")
        assert np.array_equal(numbers, np.array(listed[name], dtype=np.float32).ravel())


def test_truncated_texts_are_marked(m3: RuntimeServer) -> None:
    long, short = embedded(m3, input=["one " * 300, "a"], output=ALL, truncate=True)
    assert (long["truncated"], "truncated" in short) == (True, False)
    assert len(long["colbert_embedding"]) == 256


def test_teis_embed_sparse_has_the_same_weights(m3: RuntimeServer) -> None:
    wanted = [item["sparse_embedding"] for item in embedded(m3, input=TEXTS, output=["sparse"])]
    assert m3.post("/embed_sparse", inputs=TEXTS).json() == wanted


def test_the_outputs_are_told(m3: RuntimeServer, sparse: RuntimeServer, fake_server: RuntimeServer) -> None:
    for server, outputs_of in ((m3, ALL), (sparse, ["sparse"]), (fake_server, ["dense"])):
        with server.http() as http:
            assert http.get("/v1/models").json()["data"][0]["outputs"] == outputs_of


def test_an_output_that_the_model_lacks_is_refused_with_those_it_has(
    fake_server: RuntimeServer, sparse: RuntimeServer
) -> None:
    field, message = problem(fake_server, output=ALL)
    assert field == "output"
    assert message == "output: sentence-transformer offers dense only, not sparse or colbert"
    assert problem(sparse, output=["dense"])[1] == "output: sentence-transformer offers sparse only, not dense"
    assert problem(fake_server, output=["all"])[0] == "output"
    assert problem(fake_server, output=[])[0] == "output"


def test_pickles_that_may_not_be_loaded_are_told(model: Path) -> None:
    with RuntimeServer("fake", model=model) as server:
        _, message = problem(server.ready(), output=["sparse"])
        tei = server.post("/embed_sparse", inputs="a")
    for words in (message, tei.json()["error"]):
        assert "the model has sparse_linear.pt and colbert_linear.pt, but pickles are loaded with" in words
        assert "--allow_pickle=true" in words
    assert tei.status_code == 424


def test_a_sparse_encoder_has_its_output_by_name(sparse: RuntimeServer) -> None:
    wanted = sparse.post("/embed_sparse", inputs=TEXTS).json()
    for output in (["sparse"], ["sparse", "sparse"]):
        found = embedded(sparse, input=TEXTS, output=output)
        assert [item["sparse_embedding"] for item in found] == wanted


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        ({"output": ["sparse"], "dimensions": 384}, "dimensions", "applies to dense vectors, which output does not"),
        ({"output": ["colbert"], "normalize": True}, "normalize", "applies to dense vectors"),
        ({"output": ALL, "encoding_format": "bytes"}, "encoding_format", "bytes is supported for dense vectors only"),
        ({"output": ALL, "embedding_type": "binary"}, "encoding_format", "binary is supported for dense vectors only"),
        ({"return_sparse": True}, "return_sparse", "use output"),
    ],
)
def test_options_that_an_output_does_not_have_are_refused_by_name(
    m3: RuntimeServer, body: dict[str, Any], field: str, words: str
) -> None:
    found, message = problem(m3, **body)
    assert found == field
    assert words in message


def test_a_response_larger_than_the_limit_is_refused_before_it_is_computed(m3: RuntimeServer) -> None:
    answer = m3.post("/v1/embeddings", input=["one " * 250] * 200, output=ALL)
    assert answer.status_code == 400
    assert "input: the response would take 596 MiB of memory" in answer.json()["error"]["message"]


async def test_vllm_offers_dense_vectors_only(model: Path) -> None:
    args = ServeArgs.model_validate({"model_name": "m", "model_dir": model, "allow_pickle": True})
    spec = ModelSpec.from_args(args)
    async with a_worker() as worker:
        service = a_service(worker.engine, spec=spec, backend=BackendName.VLLM)
        with pytest.raises(BadRequest, match=r"offers dense only, not sparse: vllm .* --backend=huggingface"):
            outputs.check(service, EmbeddingsRequest(input="a", output=["sparse"]))
        options, context = Options.of(spec), RequestContext("1", ANYBODY)
        with pytest.raises(UnsupportedTask, match=r"served by vllm, .* use a server with --backend=huggingface"):
            await service.several(context, "a", options, Output.SPARSE)
