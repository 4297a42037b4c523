"""Two hundred hostile connections of all kinds: the frontend's memory stays small, and it answers probes."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path

from support.runtime_server import NAME, RuntimeServer

MIB = 1 << 20
LARGE = 4 * MIB - 100
EACH = 40

POST = b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
MANY_TEXTS = json.dumps({"model": NAME, "input": ["a"] * 2048}).encode()
LISTS = b'{"model": "m", "input": [' + b",".join([b"[1]"] * (MIB - 50)) + b"]}"
ONE_WORD = json.dumps({"model": NAME, "input": "\U0001f600" + "a" * (LARGE - 100)}, ensure_ascii=False).encode()
WORDS = json.dumps({"model": NAME, "input": ["\U0001f600" + "a" * 590_000] * 6}, ensure_ascii=False).encode()


class Attacker:
    """One connection: what it sends first, and again and again after that."""

    def __init__(self, port: int, first: bytes, again: bytes = b"", *, reads: bool = False) -> None:
        self._port, self._first, self._again, self._reads = port, first, again, reads
        self._connection: socket.socket | None = None
        self._left = b""

    def go_on(self) -> None:
        """As far as it goes without waiting; a connection that was closed is opened anew."""
        try:
            if self._connection is None:
                self._connection = socket.create_connection(("127.0.0.1", self._port), timeout=10)
                self._connection.setblocking(False)
                self._left = self._first
            with contextlib.suppress(BlockingIOError):
                self._left = self._left or self._again
                while self._left:
                    self._left = self._left[self._connection.send(self._left[: 1 << 18]) :]
                if self._reads and not self._connection.recv(1 << 18):
                    raise ConnectionResetError
        except OSError:
            self.close()

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def attackers(port: int) -> Iterator[Attacker]:
    for number in range(EACH):
        yield Attacker(port, b"GET /healthz HTTP/1.1\r\n", b"a:b\r\n" * 1000)
        yield Attacker(port, POST % LARGE + b" " * (LARGE - 1))
        yield Attacker(port, (POST % len(MANY_TEXTS) + MANY_TEXTS) * 3)
        yield Attacker(port, b"" if number % 2 else b"GET /healthz HTTP/1.1\r\nHost:")
        body = (LISTS, ONE_WORD, WORDS)[number % 3]
        yield Attacker(port, POST % len(body) + body, reads=True)


def resident(server: RuntimeServer) -> int:
    status = Path(f"/proc/{server.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def test_two_hundred_hostile_connections_affect_neither_memory_nor_probes() -> None:
    with RuntimeServer("fake", read_timeout=5, write_timeout=5) as server, server.ready().http() as http:
        hostile = list(attackers(server.port))
        assert len(hostile) == 200
        before = resident(server)
        most, seconds = 0, []
        end = time.monotonic() + 15
        while time.monotonic() < end:
            for attacker in hostile:
                attacker.go_on()
            begin = time.monotonic()
            assert http.get("/healthz").status_code == 200
            seconds.append(time.monotonic() - begin)
            most = max(most, resident(server))
        for attacker in hostile:
            attacker.close()
        seconds.sort()
        print(f"{most / MIB:.0f} MiB at most, {before / MIB:.0f} before")
        assert most < 200 * MIB, f"{most / MIB:.0f} MiB"
        assert seconds[len(seconds) // 2] < 0.5, seconds  # of a machine that has the attackers, too
        assert server.embeddings(input="hello").status_code == 200
