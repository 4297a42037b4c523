"""API keys and their limits, on a real server, with the real openai client."""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import openai
import pytest

from support.runtime_server import NAME, RuntimeServer, until

HASHED = hashlib.sha256(b"sk-hashed-long-enough").hexdigest()
FILE = f"""
plain sk-plain-long-enough
hashed sha256:{HASHED}
limited sk-limited-long-enough 60
small sk-small-long-enough 60
roomy sk-roomy-long-enough 1000
accented sk-not-in-ascii-à
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RuntimeServer]:
    path = tmp_path_factory.mktemp("secret") / "keys"
    path.write_text(FILE)
    with RuntimeServer("fake", api_keys_file=path, access_log=True) as server:
        yield server.ready()
        secrets = [
            "sk-plain-long-enough",
            "sk-hashed-long-enough",
            "sk-limited-long-enough",
            "sk-small-long-enough",
            "sk-wrong-long-enough",
            HASHED,
        ]
        assert [secret for secret in secrets if secret in server.log] == []


def ask(server: RuntimeServer, key: str, text: str = "hello") -> Mapping[str, str]:
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=key, max_retries=0) as client:
        return client.embeddings.with_raw_response.create(model=NAME, input=text).headers


def test_a_truncated_text_is_charged_by_its_remaining_tokens(server: RuntimeServer) -> None:
    body = {"texts": ["word " * 20_000], "input_type": "search_document", "embedding_types": ["float"]}
    with server.http() as http:
        answer = http.post("/v2/embed", json=body, headers={"Authorization": "Bearer sk-roomy-long-enough"})
    assert (answer.status_code, answer.headers["X-Truncated"]) == (200, "1")
    assert int(answer.headers["x-ratelimit-remaining-tokens"]) >= 1000 - 256


@pytest.mark.parametrize("key", ["sk-plain-long-enough", "sk-hashed-long-enough"])
def test_a_valid_key_is_accepted(server: RuntimeServer, key: str) -> None:
    assert "x-ratelimit-limit-tokens" not in ask(server, key)


def test_a_key_is_accepted_whatever_its_last_byte(server: RuntimeServer) -> None:
    header = b"Bearer " + "sk-not-in-ascii-à".encode()  # its last byte is a no-break space in Latin-1
    assert server.get("/v1/models", headers={b"Authorization": header}).status_code == 200


@pytest.mark.parametrize("key", ["sk-wrong-long-enough", HASHED, f"sha256:{HASHED}"])
def test_another_key_is_refused_as_openai_does(server: RuntimeServer, key: str) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        ask(server, key)
    assert caught.value.code == "invalid_api_key"
    assert caught.value.response.headers["WWW-Authenticate"] == "Bearer"
    assert key not in caught.value.message


@pytest.mark.parametrize("header", [None, "sk-plain-long-enough", "Basic sk-plain-long-enough", "Bearer"])
def test_a_missing_key_is_rejected_before_other_checks(server: RuntimeServer, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    with server.http() as http:
        assert http.post("/v1/embeddings", content=b"no JSON", headers=headers).status_code == 401
        assert http.get("/nowhere", headers=headers).status_code == 401


@pytest.mark.parametrize(
    "path",
    [
        *["/healthz", "/readyz", "/health", "/v2/health/live", "/v2/health/ready", "/metrics", "/backend"],
        *["/", "/playground.css", "/playground.js", "/docs", "/docs/files/swagger-ui.css", "/openapi.json"],
    ],
)
def test_probes_scrapes_and_pages_need_no_key(server: RuntimeServer, path: str) -> None:
    assert server.get(path).status_code == 200


def test_all_other_paths_need_a_key(server: RuntimeServer) -> None:
    document = server.get("/openapi.json").json()
    asked = {(method, path) for path, methods in document["paths"].items() for method in methods}
    with server.http() as http:
        let_in = {path for method, path in asked if http.request(method, path).status_code != 401}
    probes = {"/ping", "/healthz", "/readyz", "/health", "/v2/health/live", "/v2/health/ready", "/metrics", "/backend"}
    assert let_in == {"/", *probes}


def test_a_limited_key_gets_its_remaining_budget_and_retry_after(server: RuntimeServer) -> None:
    headers = ask(server, "sk-limited-long-enough", "word " * 48)  # 50 tokens
    assert headers["x-ratelimit-limit-tokens"] == "60"
    assert int(headers["x-ratelimit-remaining-tokens"]) in range(10, 13)
    assert 45 < float(headers["x-ratelimit-reset-tokens"].removesuffix("s")) <= 50
    with pytest.raises(openai.RateLimitError) as caught:
        ask(server, "sk-limited-long-enough", "word " * 48)
    assert (caught.value.type, caught.value.code) == ("tokens", "rate_limit_exceeded")
    answer = caught.value.response.headers
    assert answer["Retry-After"] == "30"  # it is 35 to 40, and OpenAI's clients obey no more than 60
    assert int(answer["x-ratelimit-remaining-tokens"]) < 15
    assert ask(server, "sk-plain-long-enough")


def test_more_than_a_minutes_tokens_are_400_so_that_no_client_retries(server: RuntimeServer) -> None:
    with pytest.raises(openai.BadRequestError, match="send fewer or shorter texts") as caught:
        ask(server, "sk-small-long-enough", "word " * 70)
    assert (caught.value.code, "Retry-After" in caught.value.response.headers) == ("rate_limit_exceeded", False)
    assert caught.value.param is None  # as OpenAI has it: what the texts are called differs by API


def test_the_keys_file_can_change_and_become_invalid(tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("old sk-old-long-enough\n")
    with RuntimeServer("fake", api_keys_file=keys) as server, server.ready().http() as http:

        def status(key: str) -> int:
            return http.get("/v1/models", headers={"Authorization": f"Bearer {key}"}).status_code

        assert status("sk-old-long-enough") == 200
        keys.write_text("new sk-new-long-enough\n")
        until(
            lambda: (status("sk-new-long-enough"), status("sk-old-long-enough")) == (200, 401),
            "the new key instead of the old one",
        )
        keys.write_text("sk-only-half-a-line\n")
        until(
            lambda: status("sk-new-long-enough") == 200 and "API keys were not reloaded" in server.log,
            "the error to be told",
        )
        assert "line 1: expected NAME KEY" in server.log
        assert "sk-" not in server.log


def test_access_is_logged_by_the_keys_name(server: RuntimeServer) -> None:
    ask(server, "sk-plain-long-enough")
    until(lambda: "key=plain" in server.log, "the line of the request, which follows its response")


@pytest.mark.parametrize(("content", "words"), [(None, "No such file"), ("one-word", "line 1: expected NAME KEY")])
def test_without_valid_keys_it_does_not_start(tmp_path: Path, content: str | None, words: str) -> None:
    path = tmp_path / "keys"
    if content is not None:
        path.write_text(content)
    with RuntimeServer("fake", api_keys_file=path) as server:
        assert server.process.wait(120) == 1
        (line,) = server.log.splitlines()
        assert f"cannot use --api_keys_file: {path}" in line
        assert words in line
