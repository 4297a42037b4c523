"""Java's clients on a real server: the JDK's HttpClient, and LangChain4j and Spring AI, which use it.

`make test` copies their jars where there is Maven.
"""

import json
import shutil
import socket
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from support.runtime_server import NAME, RuntimeServer

JAVA = shutil.which("java")
SOURCES = Path(__file__).parent / "clients" / "java"
LIBRARIES = SOURCES / "lib"

pytestmark = pytest.mark.skipif(JAVA is None, reason="there is no java: install a JDK, 11 or newer")


@pytest.fixture(scope="module")
def server() -> Iterator[RuntimeServer]:
    with RuntimeServer("fake") as server:
        yield server.ready()


class Relay:
    """Passes connections on to a server, and keeps what clients send. A context manager."""

    def __init__(self, port: int) -> None:
        self.connections = 0
        self.sent = b""
        self._port = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._sockets: list[socket.socket] = []
        self._threads: list[threading.Thread] = []

    def __enter__(self) -> Self:
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)  # the client has ended, and with it its connections
        for each in (self._listener, *self._sockets):
            each.close()

    def _start(self, *call: object) -> None:
        target, *args = call
        assert callable(target)
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # shut down
                return
            self.connections += 1
            upstream = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [client, upstream]
            self._start(self._pass_on, client, upstream, True)
            self._start(self._pass_on, upstream, client, False)

    def _pass_on(self, source: socket.socket, target: socket.socket, keeps: bool) -> None:  # noqa: FBT001 of a thread
        try:
            while data := source.recv(1 << 16):
                if keeps:
                    self.sent += data
                target.sendall(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            return  # one of the two has closed


def run(*arguments: str) -> str:
    assert JAVA is not None
    # One core and the first compiler: it lives for half a second.
    command = [JAVA, "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", *arguments]
    done = subprocess.run(command, cwd=SOURCES, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_jdks_client_offers_h2c_and_gets_http_1_1_with_its_body_intact(server: RuntimeServer) -> None:
    sizes = [0, 10, 100_000, 3_000_000, 10]
    with Relay(server.port) as relay:
        lines = run("JdkClient.java", relay.url, *map(str, sizes)).splitlines()
        assert relay.sent.lower().count(b"upgrade: h2c") == len(sizes)
        assert relay.connections == 1
    answers = [line.split("\t") for line in lines]
    assert [(status, version) for status, version, _ in answers] == [("200", "HTTP_1_1")] * len(sizes)
    wanted = [
        item["embedding"] for item in server.embeddings(input=["a", "b"], encoding_format="base64").json()["data"]
    ]
    for _, _, body in answers:
        assert [item["embedding"] for item in json.loads(body)["data"]] == wanted


needs_jars = pytest.mark.skipif(
    not any(LIBRARIES.glob("*.jar")), reason="the clients' jars are not there: make tests/clients/java/lib/synced"
)


@needs_jars
def test_langchain4j_gets_vectors(server: RuntimeServer) -> None:
    assert run("-cp", f"{LIBRARIES}/*", "LangChain4jClient.java", server.url, NAME) == "384 384 384 true\n"


@needs_jars
def test_spring_ai_gets_vectors_over_the_jdks_client(server: RuntimeServer) -> None:
    with Relay(server.port) as relay:
        assert run("-cp", f"{LIBRARIES}/*", "SpringAiClient.java", relay.url, NAME) == "384 384 384 true\n"
        assert b"upgrade: h2c" in relay.sent.lower()
