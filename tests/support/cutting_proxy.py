"""A TCP proxy that cuts connections in the middle of an answer, and counts what the client was sent."""

import socket
import threading
from contextlib import suppress
from typing import Self

__all__ = ["CuttingProxy"]

_BLOCK = 1 << 14


class CuttingProxy:
    """Forwards connections to a server. Once the answers add up to `cut_after` bytes, it ends one connection, so that
    the client has received exactly these; then it forwards all.
    """

    def __init__(self, port: int) -> None:
        """`port`: of the server, on this machine."""
        self.sent = 0
        self.cut_after: int | None = None
        self._port, self._lock = port, threading.Lock()
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def reset(self, cut_after: int | None) -> None:
        """Begin to count anew."""
        with self._lock:
            self.sent, self.cut_after = 0, cut_after

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        for each in (self._listener, *self._sockets):
            _end(each)
        for thread in self._threads:
            thread.join(10)
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.create_connection(("127.0.0.1", self._port))
            self._sockets += [client, server]
            for copy in (self._ask, self._answer):
                thread = threading.Thread(target=copy, args=(client, server), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _ask(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while block := client.recv(_BLOCK):
                server.sendall(block)
        except OSError:
            pass  # the other direction was cut
        finally:
            _end(server)

    def _answer(self, client: socket.socket, server: socket.socket) -> None:
        try:
            while block := server.recv(_BLOCK):
                with self._lock:
                    is_cut = self.cut_after is not None and self.sent + len(block) > self.cut_after
                    if is_cut:
                        block = block[: (self.cut_after or 0) - self.sent]
                        self.cut_after = None
                    self.sent += len(block)
                client.sendall(block)
                if is_cut:
                    return
        except OSError:
            pass  # the client went away
        finally:
            _end(client)
            _end(server)


def _end(connection: socket.socket) -> None:
    """Wake the threads that wait for it. What was sent arrives before the end."""
    with suppress(OSError):  # it has ended already
        connection.shutdown(socket.SHUT_RDWR)
