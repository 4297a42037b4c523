"""Large requests and responses do not delay probes and other requests."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.models import a_model, packaged_minilm
from support.runtime_server import NAME, RuntimeServer

TEXTS = ["a"] * 2048


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Of vectors as long as those of the largest models."""
    model = a_model(tmp_path_factory.mktemp("wide"), pooling={"pooling_mode": "mean", "word_embedding_dimension": 4096})
    (model / "tokenizer.json").symlink_to(packaged_minilm() / "tokenizer.json")
    with RuntimeServer("fake", model=Path(model)) as server:
        yield server.ready()


def slowest_probe_beside(server: RuntimeServer, path: str, body: object) -> tuple[float, httpx.Response]:
    """Seconds, and the answer to the body."""
    with server.http() as http, server.http() as probe, ThreadPoolExecutor() as pool:
        content = json.dumps(body).encode()
        answer = pool.submit(http.post, path, content=content, headers={"Content-Type": "application/json"})
        slowest = 0.0
        while not answer.done():
            begin = time.monotonic()
            assert probe.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - begin)
        return slowest, answer.result()


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"model": NAME, "input": TEXTS}),
        ("/v1/embeddings", {"model": NAME, "input": TEXTS, "encoding_format": "base64"}),
        ("/v1/embed", {"model": NAME, "texts": TEXTS}),
        ("/embed", {"inputs": TEXTS}),
        (f"/v1/models/{NAME}:predict", {"instances": TEXTS}),
        (
            f"/v2/models/{NAME}/infer",
            {"inputs": [{"name": "text", "shape": [2048], "datatype": "BYTES", "data": TEXTS}]},
        ),
    ],
    ids=["openai", "openai, base64", "cohere", "tei", "open inference v1", "open inference v2"],
)
def test_a_response_of_eight_million_numbers_does_not_block_others(
    server: RuntimeServer, path: str, body: dict[str, object]
) -> None:
    slowest, answer = slowest_probe_beside(server, path, body)
    assert answer.status_code == 200
    assert len(answer.content) > 4 * 2048 * 4096
    assert slowest < 2


@pytest.mark.parametrize(
    "given",
    [["a"] * 600_000 + [3], [[1]] * 400_000 + [3], [12345] * 400_000 + ["a"], "one " * 1_000_000],
    ids=["texts", "lists of ids", "ids", "a text"],
)
def test_a_large_invalid_body_does_not_block_other_requests(server: RuntimeServer, given: object) -> None:
    slowest, answer = slowest_probe_beside(server, "/v1/embeddings", {"model": NAME, "input": given})
    assert answer.status_code == 400
    assert slowest < 2
