"""Answers GET /progress while a model is downloaded, for the operator. It needs no rights, and costs one thread."""

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http import HTTPStatus

from embedding_runtime.contract import PROGRESS_PATH, PROGRESS_PORT_VARIABLE, DownloadProgress
from embedding_runtime.storage.progress import Meter

__all__ = ["ProgressServer", "progress_server"]

_SECONDS = 1
"""For which a client is waited for. One after the other is answered, each once."""

_LONGEST_REQUEST = 4096


@contextmanager
def progress_server(environ: Mapping[str, str], say: Callable[[str], None]) -> Iterator[Callable[[Meter], None]]:
    """While the block runs, listen on the port in PROGRESS_PORT, if it is set. Yields what gets the current meter.

    A port that cannot be used is no failure.
    """
    port = environ.get(PROGRESS_PORT_VARIABLE, "").strip()
    if not port:
        yield lambda _: None
        return
    try:
        server = ProgressServer(int(port))
    except (OSError, ValueError) as error:
        say(f"the progress is not reported on {PROGRESS_PORT_VARIABLE}={port}: {error}")
        yield lambda _: None
        return
    try:
        yield server.show
    finally:
        server.close()


class ProgressServer:
    """Listens on all addresses."""

    def __init__(self, port: int) -> None:
        """Start the thread. Raises OSError, ValueError."""
        if not 0 <= port < 1 << 16:
            raise ValueError("it is not a port: use 1 to 65535")
        is_dual = socket.has_dualstack_ipv6()
        family, host = (socket.AF_INET6, "::") if is_dual else (socket.AF_INET, "0.0.0.0")  # noqa: S104 pods have one
        self._listener = socket.create_server((host, port), family=family, dualstack_ipv6=is_dual)
        self.port: int = self._listener.getsockname()[1]
        self._meter: Meter | None = None
        self._thread = threading.Thread(target=self._run, name="progress server", daemon=True)
        self._thread.start()

    def show(self, meter: Meter) -> None:
        """Answer with this meter from now on."""
        self._meter = meter

    def close(self) -> None:
        """End the thread."""
        self._listener.shutdown(socket.SHUT_RDWR)  # wakes it; a close would not
        self._thread.join()
        self._listener.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # it was shut down
                return
            with connection, suppress(OSError):  # clients that are slow or gone are their own problem
                connection.settimeout(_SECONDS)
                connection.sendall(self._answer(connection.recv(_LONGEST_REQUEST)))

    def _answer(self, request: bytes) -> bytes:
        status, body = HTTPStatus.NOT_FOUND, b""
        if self._meter is not None and request.startswith(f"GET {PROGRESS_PATH} HTTP/1.".encode()):
            status, body = HTTPStatus.OK, f"{_progress_of(self._meter)}\n".encode()
        head = (
            f"HTTP/1.1 {status} {status.phrase}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n"
        )
        return head.encode() + body


def _progress_of(meter: Meter) -> DownloadProgress:
    return DownloadProgress(done_bytes=max(meter.done, 0), total_bytes=meter.total, bytes_per_second=round(meter.rate))
