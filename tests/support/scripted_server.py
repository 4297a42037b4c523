"""A web server whose answers a test decides."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

__all__ = ["Answer", "Asked", "serving"]


@dataclass(frozen=True)
class Asked:
    """A request."""

    path: str
    """With its query."""
    headers: Message


@dataclass(frozen=True)
class Answer:
    """A response. Its length is stated, unless its headers have an encoding."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes = b""


@contextmanager
def serving(answer: Callable[[Asked], Answer], host: str = "127.0.0.1") -> Iterator[str]:
    """Answer all GET requests, on connections that are kept. Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            given = answer(Asked(self.path, self.headers))
            self.send_response(given.status)
            length = {} if "Transfer-Encoding" in given.headers else {"Content-Length": str(len(given.content))}
            for name, value in {**length, **given.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(given.content)

        def log_message(self, *_: object) -> None:
            """Nothing."""

    with ThreadingHTTPServer((host, 0), Handler) as server:
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield f"http://{host}:{server.server_port}"
        finally:
            server.shutdown()
            thread.join()
