"""Response memory: requests that wait for it do not block others, and every large response counts."""

import json
import select
import socket
from pathlib import Path

import pytest

from support.models import a_sparse_encoder
from support.runtime_server import RuntimeServer, until

MIB = 1 << 20

HEAD = b"POST %s HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"

MANY_TEXTS = ["a"] * 2048
"""9 MB of numbers as JSON."""


def asked(server: RuntimeServer, path: str, **body: object) -> socket.socket:
    """Send a request on a connection whose client does not read the response."""
    content = json.dumps(body).encode()
    connection = socket.socket()
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.settimeout(30)
    connection.connect(("127.0.0.1", server.port))
    connection.sendall(HEAD % (path.encode(), len(content)) + content)
    return connection


def unsent(server: RuntimeServer) -> float:
    return server.metric("embedding_unsent_bytes") or 0


def fill(server: RuntimeServer) -> list[socket.socket]:
    """Request two large responses and do not read them: with --max_unsent_bytes=1 a third one waits."""
    connections = []
    for number in range(1, 3):
        connections.append(asked(server, "/v1/embeddings", input=MANY_TEXTS))
        until(lambda: unsent(server) > 4 * MIB * number, "an unread response")  # noqa: B023 called at once
    return connections


def test_a_large_body_that_waits_for_response_memory_does_not_block_another_large_body() -> None:
    with RuntimeServer("fake", max_unsent_bytes=1, write_timeout=60) as server:
        connections = fill(server.ready())
        body = {"input": MANY_TEXTS, "user": "u" * 100_000}
        connections += [asked(server, "/v1/embeddings", **body) for _ in range(4)]
        answer = server.embeddings(input="one " * 50_000, truncate=True, timeout="50")
        assert answer.status_code == 200, answer.text
        for connection in connections:
            connection.close()


def test_a_response_that_waits_behind_an_unread_one_does_not_block_another_large_body() -> None:
    with RuntimeServer("fake", write_timeout=60) as server:
        connection = asked(server.ready(), "/v1/embeddings", input=MANY_TEXTS)
        until(lambda: unsent(server) > 4 * MIB, "an unread response")
        wrong = json.dumps({"input": 5, "user": "u" * 100_000}).encode()
        connection.sendall(HEAD % (b"/v1/embeddings", len(wrong)) + wrong)
        answer = server.embeddings(input="one " * 50_000, truncate=True, timeout="50")
        assert answer.status_code == 200, answer.text
        connection.close()


def peak(pid: int) -> int:
    """Bytes, the most that a process has had."""
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]) * 1024


def resident(server: RuntimeServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tokenize", {"inputs": "a " * 30_000}),
        ("/tokenize", {"prompt": "a " * 30_000, "return_token_strs": True}),
        ("/decode", {"ids": [[2000] * 9000]}),
        ("/v2/embed", {"texts": ["a" + " " * 60_000]}),
    ],
    ids=["tokens", "strings", "texts", "repeated texts"],
)
def test_a_hundred_unread_responses_of_any_kind_stay_small(path: str, body: dict[str, object]) -> None:
    with RuntimeServer("fake", write_timeout=5) as server:
        assert server.ready().post(path, **body).status_code == 200
        before, most = resident(server), 0
        connections = [asked(server, path, **body) for _ in range(100)]
        with server.http() as http:
            for _ in range(20):
                assert http.get("/healthz", timeout=10).status_code == 200
                most = max(most, resident(server))
        for connection in connections:
            connection.close()
    assert most - before < 100 * MIB, f"{before / MIB:.0f} MiB before, {most / MIB:.0f} at most"


def test_many_unread_responses_with_vectors_of_tokens_stay_small() -> None:
    with RuntimeServer("fake", write_timeout=60) as server:
        assert server.ready().post("/embed_all", inputs="one").status_code == 200
        before = resident(server)
        texts = ["one " * 250] * 80  # 8 million numbers, 90 MB as JSON
        connections = [asked(server, "/embed_all", inputs=texts) for _ in range(24)]
        until(lambda: len(select.select(connections, [], [], 1)[0]) == 2, "two of them to be sent", seconds=60)
        most = peak(server.process.pid)
        begun = select.select(connections, [], [], 0)[0]
        assert [connection.recv(15) for connection in begun] == [b"HTTP/1.1 200 OK"] * 2
        for connection in connections:
            connection.close()
    assert most - before < 150 * MIB, f"{before / MIB:.0f} MiB before, {most / MIB:.0f} at most"


@pytest.mark.parametrize("kind", ["sparse", "tokens"])
def test_ragged_responses_wait_for_response_memory_before_they_are_computed(tmp_path: Path, kind: str) -> None:
    path, model = ("/embed_sparse", a_sparse_encoder(tmp_path)) if kind == "sparse" else ("/embed_all", None)
    texts = [" ".join(map(str, range(120)))] * (500 if kind == "sparse" else 10)
    with RuntimeServer("fake", model=model, max_unsent_bytes=1, write_timeout=60) as server:
        server.ready()
        connections = []
        for number in range(1, 3):
            connections.append(asked(server, path, inputs=texts))
            until(lambda: unsent(server) > number * MIB, "an unread response")  # noqa: B023 called at once
        until(lambda: server.metric("embedding_texts_total") == 2 * len(texts), "both to be computed")
        with server.http() as http:
            waits = http.post(path, json={"inputs": texts}, headers={"X-Request-Timeout": "1"})
        assert waits.status_code == 504
        assert server.metric("embedding_texts_total") == 2 * len(texts)
        assert server.post(path, inputs="one").status_code == 200
        for connection in connections:
            connection.close()
