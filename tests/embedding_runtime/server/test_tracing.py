"""Spans of a real server, received by a collector."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.models import a_cross_encoder
from support.otlp_collector import OtlpCollector
from support.runtime_server import NAME, RuntimeServer

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
TEXT = "a-text-nobody-may-see"
ROUTE = "/v1/embeddings"


@pytest.fixture
def collector() -> Iterator[OtlpCollector]:
    with OtlpCollector() as collector:
        yield collector


def asked(collector: OtlpCollector, *bodies: dict[str, object], **env: str) -> list[int]:
    """The codes of a server that has ended, and so has sent all that it had seen."""
    with RuntimeServer("fake", env={"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, **env}) as server:
        with server.ready().http() as http:
            headers = {"traceparent": f"00-{TRACE}-{PARENT}-01", "X-Request-Id": "mine"}
            codes = [http.post(ROUTE, json={"model": NAME, **body}, headers=headers).status_code for body in bodies]
        assert server.stop() == 0
    return codes


def test_a_request_is_a_span_in_its_clients_trace_with_a_span_a_step(collector: OtlpCollector) -> None:
    assert asked(collector, {"input": "hello"}) == [200]
    spans = {span.name: span for span in collector.spans}
    assert set(spans) == {f"POST {ROUTE}", "tokenize", "embed"}
    whole = spans[f"POST {ROUTE}"]
    assert {span.trace_id for span in spans.values()} == {TRACE}
    assert {span.service for span in spans.values()} == {"embedding-runtime"}
    assert whole.parent_id == PARENT
    assert (spans["tokenize"].parent_id, spans["embed"].parent_id) == (whole.span_id, whole.span_id)
    assert whole.attributes == {
        "http.request.method": "POST",
        "http.route": ROUTE,
        "http.response.status_code": 200,
        "gen_ai.operation.name": "embeddings",
        "gen_ai.usage.input_tokens": 3,
        "embedding.texts": 1,
        "embedding.request_id": "mine",
    }
    assert spans["embed"].attributes["embedding.queue_seconds"] >= 0


def test_each_operation_has_its_name_and_what_computes_nothing_has_none(
    collector: OtlpCollector, tmp_path: Path
) -> None:
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1, 2], "data": ["hello", "hello"]}
    asked: dict[str, tuple[str | None, dict[str, object]]] = {
        "/v1/rerank": ("rerank", {"model": NAME, "query": "hello", "documents": ["hello"]}),
        "/v1/score": ("score", {"model": NAME, "text_1": "hello", "text_2": "hello"}),
        "/v2/models/{name:path}/infer": ("score", {"inputs": [tensor]}),
        "/tokenize": (None, {"prompt": "hello"}),
    }
    env = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    with RuntimeServer("fake", model=a_cross_encoder(tmp_path), env=env) as server:
        server.ready()
        for route, (_, body) in asked.items():
            assert server.post(route.replace("{name:path}", NAME), **body).status_code == 200
        assert server.stop() == 0
    routes = [span.attributes for span in collector.spans if "http.route" in span.attributes]
    assert {span["http.route"]: span.get("gen_ai.operation.name") for span in routes} == {
        route: name for route, (name, _) in asked.items()
    }


def test_no_text_is_in_a_span_of_a_request_that_fails(collector: OtlpCollector) -> None:
    wrong: list[dict[str, object]] = [{"dimensions": 1}, {"input": [TEXT, 1]}, {"model": TEXT}, {"input": TEXT * 300}]
    assert asked(collector, *({"input": TEXT, **body} for body in wrong)) == [400, 400, 404, 400]
    assert len([span for span in collector.spans if span.name == f"POST {ROUTE}"]) == len(wrong)
    assert TEXT.encode() not in collector.raw


def test_the_sdks_environment_variables_apply(collector: OtlpCollector) -> None:
    asked(collector, {"input": "a"}, OTEL_SERVICE_NAME="vectors", OTEL_TRACES_SAMPLER="always_on")
    assert {span.service for span in collector.spans} == {"vectors"}


@pytest.mark.parametrize("off", [{"OTEL_SDK_DISABLED": "true"}, {"OTEL_TRACES_EXPORTER": "none"}])
def test_it_can_be_turned_off(collector: OtlpCollector, off: dict[str, str]) -> None:
    assert asked(collector, {"input": "a"}, **off) == [200]
    assert collector.spans == []


def test_an_unreachable_collector_does_not_delay_requests() -> None:
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections, and never answers
        endpoint = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_TIMEOUT": "2"}
        with RuntimeServer("fake", env=env) as server:
            assert server.ready().embeddings(input="a").status_code == 200
            assert server.stop() == 0
