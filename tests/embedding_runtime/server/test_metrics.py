"""Prometheus metrics of a real server."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.runtime_server import NAME, RuntimeServer, until


@pytest.fixture
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()


def test_requests_are_counted_by_their_routes_template_and_code(server: RuntimeServer) -> None:
    for _ in range(3):
        server.embeddings(input="a")
    server.embeddings(input=[])
    server.get("/of/any/length")
    count = "embedding_requests_total"
    assert server.metric(count, method="POST", path="/openai/v1/embeddings", code="200") == 3
    assert server.metric(count, path="/openai/v1/embeddings", code="400") == 1
    assert server.metric(count, path="unmatched", code="404") == 1
    assert server.metric("embedding_request_duration_seconds_count", path="/openai/v1/embeddings") == 4


def test_texts_tokens_and_batches_are_counted(server: RuntimeServer) -> None:
    server.embeddings(input=[[101, 102], [101, 7592, 102]])
    server.embeddings(input="hello")
    assert (server.metric("embedding_texts_total"), server.metric("embedding_tokens_total")) == (3, 8)
    assert (server.metric("embedding_batch_texts_sum"), server.metric("embedding_batch_texts_count")) == (3, 2)
    assert (server.metric("embedding_batch_tokens_sum"), server.metric("embedding_batch_tokens_count")) == (8, 2)
    assert server.metric("embedding_request_queue_duration_seconds_count", lane="interactive") == 2
    for step, times in [("request_tokenization", 1), ("batch_inference", 2)]:
        assert server.metric(f"embedding_{step}_duration_seconds_count") == times


@pytest.mark.model
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_padding_is_counted_where_batches_are_padded(tmp_path: Path) -> None:
    tiny = pytest.importorskip("support.tiny_models")
    with RuntimeServer("huggingface", model=tiny.a_transformer(tmp_path, tiny.SHAPES["t5"])) as server:
        server.ready().embeddings(input=["the " * words for words in (8, 9, 10, 18)])
        assert server.metric("embedding_tokens_total") == 10 + 11 + 12 + 20
        assert server.metric("embedding_padding_tokens_total") == (12 - 10) + (12 - 11)


def test_refusals_are_counted_by_reason(server: RuntimeServer) -> None:
    server.embeddings(input="word " * 300)
    server.embeddings(input="a", model="another")
    server.embeddings(input="a", dimensions=1)
    for reason in ("input_too_long", "unknown_model", "bad_request"):
        assert server.metric("embedding_rejected_total", reason=reason) == 1


def test_queued_texts_are_in_the_metrics(server: RuntimeServer) -> None:
    os.kill(server.worker, signal.SIGSTOP)
    body = b'{"model": "%s", "input": [%s]}' % (NAME.encode(), b",".join([b'"hello hello"'] * 1500))
    connection = server.begin_request(body)
    until(lambda: server.metric("embedding_tokens_in_flight") == 6000, "the request to be in line")
    assert server.metric("embedding_queue_tokens", lane="bulk") == 6000 - 2 * 2048
    assert server.metric("embedding_queue_texts", lane="bulk") == 1500 - 2 * 512
    os.kill(server.worker, signal.SIGCONT)
    with connection:
        until(lambda: server.metric("embedding_tokens_in_flight") == 0, "the request to be done")


def test_the_model_is_described_by_labels(server: RuntimeServer) -> None:
    facts = {"name": NAME, "backend": "fake", "dimensions": "384", "max_length": "256", "pooling": "mean"}
    assert server.metric("embedding_model_info", dtype="float32", **facts) == 1


def test_the_memory_of_both_processes_is_in_the_metrics(server: RuntimeServer) -> None:
    for prefix in ("", "embedding_worker_"):
        assert (server.metric(f"{prefix}process_resident_memory_bytes") or 0) > 1e7
        assert (server.metric(f"{prefix}process_cpu_seconds_total") or 0) > 0


def test_openmetrics_is_returned_if_it_is_accepted(server: RuntimeServer) -> None:
    answer = server.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert answer.headers["Content-Type"].startswith("application/openmetrics-text")
    assert answer.text.endswith("# EOF\n")
