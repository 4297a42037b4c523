"""Memory after a hundred thousand requests of random sizes."""

import json
import random
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.runtime_server import NAME, RuntimeServer

CONNECTIONS = 8
FIRST, ALL = 20_000, 100_000
GROWTH = 8 << 20
"""Bytes: what an allocator keeps of the largest requests that met. A leak of 100 bytes a request would be as much."""


def memory(pid: int) -> int:
    """Bytes of a process's own: its share of pages that others have, too."""
    fields = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
    return int(fields[fields.index("Pss:") + 1]) * 1024


def bodies() -> list[bytes]:
    """Mostly small ones, some of a thousand tokens, and some that are refused."""
    choose = random.Random(7)
    sizes = [min(int(choose.lognormvariate(1, 1)), 40) for _ in range(200)]
    inputs: list[object] = [[[101, *[11] * choose.randint(0, 58), 102]] * size for size in sizes]
    return [json.dumps({"model": NAME, "input": given}).encode() for given in [*inputs, [], [[]], "one " * 300]]


def ask(port: int, requests: int, seed: int) -> None:
    """One connection, one request after the other."""
    choose = random.Random(seed)
    prepared = [
        b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s"
        % (len(body), body)
        for body in bodies()
    ]
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection, connection.makefile("rb") as answers:
        for _ in range(requests):
            connection.sendall(choose.choice(prepared))
            assert answers.readline().split()[1] in {b"200", b"400"}
            length = 0
            while (line := answers.readline()) != b"\r\n":
                if line.startswith(b"content-length:"):
                    length = int(line.split()[1])
            answers.read(length)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_memory_does_not_grow_over_a_hundred_thousand_requests_of_random_sizes() -> None:
    with RuntimeServer("fake", max_inputs=64) as server, ThreadPoolExecutor(CONNECTIONS) as pool:
        processes = [server.ready().process.pid, server.worker]

        def after(requests: int, seed: int) -> list[int]:
            asked = [pool.submit(ask, server.port, requests // CONNECTIONS, seed + each) for each in range(CONNECTIONS)]
            for each in asked:
                each.result()
            return [memory(pid) for pid in processes]

        early = after(FIRST, 0)
        late = after(ALL - FIRST, CONNECTIONS)
        assert [later - earlier < GROWTH for earlier, later in zip(early, late, strict=True)] == [True, True], (
            early,
            late,
        )
