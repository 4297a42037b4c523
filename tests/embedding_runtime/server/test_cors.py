"""CORS: preflight requests need no API key, and by default no origin is allowed."""

from collections.abc import Iterator, Mapping

import httpx
import pytest

from support.runtime_server import RuntimeServer

ORIGIN = "https://search.example"
PREFLIGHT = {
    "Origin": ORIGIN,
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "authorization, content-type",
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    keys = tmp_path_factory.mktemp("keys") / "keys"
    keys.write_text("somebody a-key-of-some-length\n")
    with RuntimeServer("fake", api_keys_file=keys, allowed_origins=f'["{ORIGIN}", "https://other.example"]') as server:
        yield server.ready()


def preflight(server: RuntimeServer, **headers: str) -> httpx.Response:
    with server.http() as http:
        return http.options("/v1/embeddings", headers={**PREFLIGHT, **headers})


def post(server: RuntimeServer, headers: Mapping[str, str]) -> httpx.Response:
    with server.http() as http:
        return http.post("/v1/embeddings", json={"input": "a"}, headers=headers)


def test_a_preflight_is_answered_without_a_key(server: RuntimeServer) -> None:
    answer = preflight(server)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert "POST" in answer.headers["Access-Control-Allow-Methods"]
    assert "authorization" in answer.headers["Access-Control-Allow-Headers"]


def test_the_request_after_a_preflight_needs_a_key(server: RuntimeServer) -> None:
    answer = post(server, {"Origin": ORIGIN, "Authorization": "Bearer a-key-of-some-length"})
    assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (200, ORIGIN)
    assert "X-Truncated" in answer.headers["Access-Control-Expose-Headers"]
    refused = post(server, {"Origin": ORIGIN})
    assert (refused.status_code, refused.headers["Access-Control-Allow-Origin"]) == (401, ORIGIN)


def test_another_origin_is_not_allowed(server: RuntimeServer) -> None:
    answer = preflight(server, Origin="https://evil.example")
    assert answer.status_code == 400
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_by_default_no_origin_is_allowed(fake_server: RuntimeServer) -> None:
    assert "Access-Control-Allow-Origin" not in preflight(fake_server).headers
    assert "Access-Control-Allow-Origin" not in post(fake_server, {"Origin": ORIGIN}).headers


def test_methods_and_headers_can_be_restricted() -> None:
    with RuntimeServer("fake", allowed_origins="*", allowed_methods="GET", allowed_headers="content-type") as server:
        assert preflight(server.ready()).status_code == 400
