"""The worker's end of the link to the scheduler."""

import os
import select
import socket
import threading
from collections.abc import Iterator, Sequence
from queue import SimpleQueue

from embedding_runtime.protocol.frames import Frame, pack, receive_sync
from embedding_runtime.protocol.messages import Message, Work

__all__ = ["SchedulerLink"]


class SchedulerLink:
    """Messages from and to the scheduler. When it is gone, the process ends, however deep in a library threads are."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._sending = threading.Lock()
        self._outgoing: SimpleQueue[Frame] | None = None
        threading.Thread(target=self._watch, daemon=True).start()

    def send(self, message: Message) -> None:
        """Send it, from any thread. Its arrays must not change any more."""
        frame = pack(message)
        if self._outgoing is None:
            self._send_now(frame)
        else:
            self._outgoing.put(frame)

    def send_last(self, message: Message) -> None:
        """Send it before this returns, as the process is about to end."""
        self._send_now(pack(message))

    def works(self, *, overlapped: bool) -> Iterator[Work]:
        """Yield batches, forever. `overlapped`: see the method. On few CPU cores it is slower, because each hand-over
        between threads waits for a core.
        """
        if not overlapped:
            yield from self._receive()
            os._exit(0)
        works = self.overlapped()
        while True:
            yield works.get()

    def overlapped(self) -> "SimpleQueue[Work]":
        """Receive and send in two threads from now on, while the caller computes. Return the queue of batches.

        On a GPU this saves a millisecond per batch.
        """
        self._outgoing = SimpleQueue()
        incoming: SimpleQueue[Work] = SimpleQueue()
        threading.Thread(target=self._forward, args=(incoming,), daemon=True).start()
        threading.Thread(target=self._send_all, args=(self._outgoing,), daemon=True).start()
        return incoming

    def _receive(self) -> Iterator[Work]:
        with self._end.makefile("rb", buffering=1 << 18) as stream:
            while isinstance(work := receive_sync(stream), Work):
                yield work

    def _forward(self, incoming: "SimpleQueue[Work]") -> None:
        for work in self._receive():
            incoming.put(work)
        os._exit(0)

    def _send_all(self, outgoing: "SimpleQueue[Frame]") -> None:
        while True:
            self._send_now(outgoing.get())

    def _send_now(self, frame: Frame) -> None:
        with self._sending:
            _write(self._end, frame)

    def _watch(self) -> None:
        gone = select.poll()
        gone.register(self._end, select.POLLHUP)
        gone.poll()
        os._exit(0)


def _write(end: socket.socket, frame: Sequence[bytes | memoryview]) -> None:
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
