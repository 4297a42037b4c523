"""Peak memory of the frontend for one rejected body."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.runtime_server import NAME, RuntimeServer

MANY = ["!" * 2000] * 2000
"""Four million tokens in a body that is not too large."""

PEAK = 300 << 20
"""Bytes beside what an idle front has; all tokens of such a body are 0.8 GB at least."""


@pytest.fixture
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()


def peak(pid: int) -> int:
    """Bytes, the most that a process has had."""
    fields = Path(f"/proc/{pid}/status").read_text().split()
    return int(fields[fields.index("VmHWM:") + 1]) * 1024


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/embeddings", {"input": MANY}),
        ("/v1/embeddings", {"input": "".join(MANY)}),
        ("/v1/embeddings", {"input": "".join(MANY), "truncate_prompt_tokens": 9}),
        ("/v1/embeddings", {"input": [*MANY[:200], "".join(MANY[200:])]}),
        ("/tokenize", {"inputs": MANY}),
        ("/tokenize", {"prompt": "".join(MANY)}),
    ],
    ids=["texts", "text", "cut", "both", "tokenize-texts", "tokenize-text"],
)
def test_too_many_tokens_are_rejected_before_all_texts_are_tokenized(
    server: RuntimeServer, path: str, body: dict[str, Any]
) -> None:
    before = peak(server.process.pid)
    with server.http() as http:
        answer = http.post(
            path, content=json.dumps({"model": NAME, **body}), headers={"Content-Type": "application/json"}
        )
    assert answer.status_code in {400, 413}  # TEI has 413
    assert peak(server.process.pid) - before < PEAK


def test_the_header_of_binary_tensors_does_not_hide_a_million_lists_at_another_path(server: RuntimeServer) -> None:
    before = peak(server.process.pid)
    content = b'{"input": [' + b",".join([b"[1]"] * 1_000_000) + b"]}"
    headers = {"Content-Type": "application/json", "Inference-Header-Content-Length": "1"}
    with server.http() as http:
        answer = http.post("/v1/embeddings", content=content, headers=headers)
    assert answer.status_code == 400
    assert "lists or objects" in answer.text
    assert peak(server.process.pid) - before < 64 << 20  # as Python's lists it is 200 MiB
