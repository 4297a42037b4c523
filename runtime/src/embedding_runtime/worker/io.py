"""The worker's end of the link to the scheduler. It receives, computes and sends at once, each in its own thread."""

import os
import socket
import threading
from collections.abc import Sequence
from queue import SimpleQueue

from embedding_runtime.protocol.messages import Frame, Message, Work, pack, receive_sync

__all__ = ["SchedulerLink"]


class SchedulerLink:
    """Messages from and to the scheduler. When it is gone, the process ends, however deep in a library others are."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._outgoing: SimpleQueue[Frame] = SimpleQueue()
        self._sending = threading.Lock()
        self.exclusive: SimpleQueue[Work] = SimpleQueue()
        """Batches for all cores of the worker."""
        self.concurrent: SimpleQueue[Work] = SimpleQueue()
        """Batches for half of them."""
        for target in (self._receive, self._send):
            threading.Thread(target=target, daemon=True).start()

    def send_soon(self, message: Message) -> None:
        """Send it beside what is computed. Its arrays must not change any more."""
        self._outgoing.put(pack(message))

    def send(self, message: Message) -> None:
        """Send it before this returns."""
        with self._sending:
            _send_all(self._end, pack(message))

    def _receive(self) -> None:
        with self._end.makefile("rb", buffering=1 << 18) as stream:
            while isinstance(work := receive_sync(stream), Work):
                (self.exclusive if work.exclusive else self.concurrent).put(work)
        os._exit(0)

    def _send(self) -> None:
        while True:
            frame = self._outgoing.get()
            with self._sending:
                _send_all(self._end, frame)


def _send_all(end: socket.socket, frame: Sequence[bytes | memoryview]) -> None:
    """Without a copy. Ends the process when the scheduler is gone."""
    parts = [memoryview(part) for part in frame]
    try:
        while parts:
            sent = end.sendmsg(parts)
            while parts and sent >= len(parts[0]):
                sent -= len(parts.pop(0))
            if parts:
                parts[0] = parts[0][sent:]
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)
