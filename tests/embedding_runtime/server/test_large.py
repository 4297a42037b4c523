"""Large requests and answers: whoever asks meanwhile, a probe above all, does not wait for them."""

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from support.models import a_model, packaged_minilm
from support.runtime_server import NAME, RuntimeServer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    """Of vectors as long as those of the largest models."""
    model = a_model(tmp_path_factory.mktemp("wide"), pooling={"pooling_mode": "mean", "word_embedding_dimension": 4096})
    (model / "tokenizer.json").symlink_to(packaged_minilm() / "tokenizer.json")
    with RuntimeServer("fake", model=Path(model)) as server:
        yield server.ready()


def slowest_probe_beside(server: RuntimeServer, body: bytes) -> tuple[float, httpx.Response]:
    """Seconds, and the answer to the body."""
    with server.http() as http, server.http() as probe, ThreadPoolExecutor() as pool:
        answer = pool.submit(http.post, "/v1/embeddings", content=body, headers={"Content-Type": "application/json"})
        slowest = 0.0
        while not answer.done():
            begin = time.monotonic()
            assert probe.get("/healthz").status_code == 200
            slowest = max(slowest, time.monotonic() - begin)
        return slowest, answer.result()


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_an_answer_of_eight_million_numbers_holds_up_nobody(server: RuntimeServer, encoding: str) -> None:
    body = {"model": NAME, "input": [[101, 102]] * 2048, "encoding_format": encoding}
    slowest, answer = slowest_probe_beside(server, json.dumps(body).encode())
    assert answer.status_code == 200
    assert len(answer.json()["data"]) == 2048
    assert slowest < 1


@pytest.mark.parametrize(
    "given",
    [["a"] * 600_000 + [3], [[1]] * 400_000 + [3], [12345] * 400_000 + ["a"], "one " * 1_000_000],
    ids=["texts", "lists of ids", "ids", "a text"],
)
def test_a_body_of_megabytes_that_is_wrong_at_its_very_end_holds_up_nobody(
    server: RuntimeServer, given: object
) -> None:
    slowest, answer = slowest_probe_beside(server, json.dumps({"model": NAME, "input": given}).encode())
    assert answer.status_code == 400
    assert slowest < 2
