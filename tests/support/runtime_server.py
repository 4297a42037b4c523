"""A real server: the process `python -m embedding_runtime serve`, on loopback."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx
import openai
from prometheus_client.parser import text_string_to_metric_families

from support.models import packaged_minilm
from support.ports import a_free_port
from support.processes import is_fork

__all__ = ["RuntimeServer", "all_of", "until"]

NAME = "sentence-transformer"

_TLS = False
"""No server here has TLS. A context for it takes 20 ms of CPU time, which is half of the time of a loop that polls."""

_LOADER = "embedding_runtime.worker.loader"

_HARMED = Path(__file__).parent / "harmed"


def until(holds: Callable[[], bool], what: str, *, seconds: float = 90) -> None:
    """Waits for a condition, and fails in its words."""
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline, f"waited {seconds} s for: {what}"
        time.sleep(0.02)


def all_of(connection: socket.socket) -> bytes:
    """What comes until the other end closes."""
    with connection:
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


class RuntimeServer:
    """Starts at once; `ready()` waits for it. A context manager that leaves no process behind."""

    def __init__(
        self,
        backend: str,
        *,
        model: Path | None = None,
        harmed: bool = False,
        env: Mapping[str, str] | None = None,
        under: Sequence[str] = (),
        aliases: Sequence[str] = (),
        **flags: object,
    ) -> None:
        """`harmed`: some token ids do harm to the fake backend, see support/harmed/sitecustomize.py.

        `aliases`: further names of the model.
        `under`: a command that starts the one after it, and has the same process id.
        """
        self.port = a_free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._clients: dict[str, openai.OpenAI] = {}
        self._one_creates_clients = threading.Lock()
        self._log = tempfile.TemporaryFile()  # noqa: SIM115 closed with the process
        given = {
            "model_dir": model or packaged_minilm(),
            "model_name": NAME,
            "host": "127.0.0.1",
            "http_port": self.port,
            **flags,
        }
        self.process = subprocess.Popen(
            [*under, sys.executable, "-m", "embedding_runtime", "serve", f"--backend={backend}"]
            + [f"--{name}={value}" for name, value in given.items()]
            + [f"--model_name={alias}" for alias in aliases],
            stdout=subprocess.PIPE,
            stderr=self._log,
            env={
                **os.environ,
                "PYTHONWARNINGS": "default",
                **({"PYTHONPATH": os.pathsep.join([str(_HARMED), os.environ.get("PYTHONPATH", "")])} if harmed else {}),
                **(env or {}),
            },
        )

    def ready(self, *, seconds: float = 420) -> Self:
        """Itself, once /readyz answers 200. vLLM alone takes half a minute of CPU time to be imported."""
        until(lambda: self.process.poll() is not None or self._is_ready(), "ready", seconds=seconds)
        assert self.process.poll() is None, self.log
        return self

    @property
    def log(self) -> str:
        """All of stderr so far."""
        return os.pread(self._log.fileno(), 1 << 20, 0).decode()

    @property
    def worker(self) -> int:
        """The only worker's process id, as soon as it has one."""
        until(lambda: bool(self.workers), "the worker to be started")
        return self.workers[0]

    @property
    def workers(self) -> list[int]:
        """The process ids of the workers."""
        return self._running("embedding_runtime.worker.main") or list(filter(is_fork, self._running(_LOADER)))

    @property
    def loader(self) -> int:
        """The process id of the loader. The workers that it forks have its command line."""
        until(lambda: not all(map(is_fork, self._running(_LOADER))), "the loader to be started")
        return next(pid for pid in self._running(_LOADER) if not is_fork(pid))

    @property
    def frontends(self) -> list[int]:
        """The process ids of the frontends that are processes of their own."""
        return self._running("embedding_runtime.frontend.main")

    def _running(self, module: str) -> list[int]:
        """Not only forked: a test that stops one before it is a program of its own stops its parent, too."""
        children = map(int, self._children.read_text().split())
        return [pid for pid in children if module.encode() in _command_of(pid)]

    @property
    def tokens_in_flight(self) -> int:
        """How many wait or are being computed, by its own word."""
        tokens = self.metric("embedding_tokens_in_flight")
        assert tokens is not None
        return int(tokens)

    def metric(self, name: str, /, **labels: str) -> float | None:
        """A sample's value; None where there is none. Fails where a label set is there twice."""
        text = self.get("/metrics").text
        found = [
            sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, f"{name} {labels} is ambiguous"
        return found[0] if found else None

    def client(self, *, prefix: str = "/openai/v1") -> openai.OpenAI:
        """The real one, that does not try again. One for each prefix: making one takes a fifth of a second."""
        with self._one_creates_clients:
            if prefix not in self._clients:
                http = openai.DefaultHttpxClient(verify=_TLS)
                self._clients[prefix] = openai.OpenAI(
                    base_url=self.url + prefix, api_key="none", max_retries=0, timeout=60, http_client=http
                )
            return self._clients[prefix]

    def http(self) -> httpx.Client:
        """For what the openai client would not send."""
        return httpx.Client(base_url=self.url, timeout=60, verify=_TLS)

    def get(self, path: str, **options: Any) -> httpx.Response:
        """A bare request, over a connection of its own."""
        return httpx.get(self.url + path, verify=_TLS, **options)

    def embeddings(self, *, timeout: str | None = None, **body: Any) -> httpx.Response:
        """One bare request; `timeout` is its X-Request-Timeout."""
        headers = {} if timeout is None else {"X-Request-Timeout": timeout}
        with self.http() as http:
            return http.post("/openai/v1/embeddings", json={"model": NAME, **body}, headers=headers)

    def post(self, path: str, **body: Any) -> httpx.Response:
        """A bare request to another path."""
        with self.http() as http:
            return http.post(path, json=body)

    def begin_request(self, body: bytes) -> socket.socket:
        """A connection whose request the server has begun to handle, by its own word (100 Continue)."""
        connection = socket.create_connection(("127.0.0.1", self.port), timeout=120)
        connection.sendall(
            b"POST /v1/embeddings HTTP/1.1\r\nHost: test\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n" % len(body)
        )
        assert connection.recv(1024).startswith(b"HTTP/1.1 100 Continue")
        connection.sendall(body)
        return connection

    def listens(self) -> bool:
        """Whether it takes a new connection."""
        with socket.socket() as connection:
            return connection.connect_ex(("127.0.0.1", self.port)) == 0

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Exit code."""
        self.process.send_signal(number)
        return self.process.wait(120)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.process.poll() is None:
            for child in self._children.read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(child), signal.SIGCONT)  # a test that failed may have left it stopped
            self.process.kill()  # the worker ends with it: tests/embedding_runtime/server says so
        self.process.communicate()
        self._log.close()
        for client in self._clients.values():
            client.close()

    @property
    def _children(self) -> Path:
        pid = self.process.pid
        return Path(f"/proc/{pid}/task/{pid}/children")

    def _is_ready(self) -> bool:
        try:
            return self.get("/readyz").status_code == httpx.codes.OK
        except httpx.TransportError:
            return False


def _command_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):  # it has ended since
        return b""
