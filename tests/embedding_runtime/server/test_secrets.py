"""No secret is in a response or a log line, whatever is logged."""

from pathlib import Path
from typing import Any

import pytest

from support.runtime_server import RuntimeServer, until

KEY, WRONG, TOKEN, HEADER = "key-of-tenant-0123456789", "wrong-0123456789", "hf_0123456789", "collector-0123456789"

PAGES = ("/v1/models", "/metrics", "/healthz", "/readyz", "/info", "/openapi.json", "/docs", "/v2", "/")


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_secret_is_in_any_page_or_log_line(tmp_path: Path, log_format: str) -> None:
    keys = tmp_path / "keys"
    keys.write_text(f"tenant {KEY} 1000\n")
    environment = {
        "HF_TOKEN": TOKEN,
        "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9",
        "OTEL_EXPORTER_OTLP_HEADERS": f"authorization={HEADER}",
    }
    flags: dict[str, Any] = {
        "log_format": log_format,
        "access_log": True,
        "api_keys_file": keys,
        "allowed_origins": "https://a.test",
    }
    with (
        RuntimeServer("fake", frontends=2, workers=2, env=environment, **flags) as server,
        server.ready().http() as http,
    ):
        answers = []
        for key in (KEY, WRONG):
            for headers in ({"Authorization": f"Bearer {key}"}, {"api-key": key}, {"Authorization": f"Basic {key}"}):
                answers += [http.get(path, headers=headers) for path in PAGES]
                answers.append(http.post(f"/v1/embeddings?api_key={key}", json={"input": "a"}, headers=headers))
        answers.append(http.post("/v1/embeddings", content=KEY, headers={"Authorization": f"Bearer {KEY}"}))
        assert {200, 400, 401} <= {answer.status_code for answer in answers}
        until(lambda: "/v1/embeddings" in server.log, "the log of requests")
        server.stop()
        everything = [answer.text + str(answer.headers) for answer in answers] + [server.log]
    for secret in (KEY, WRONG, TOKEN, HEADER):
        assert [text[:200] for text in everything if secret in text] == []
