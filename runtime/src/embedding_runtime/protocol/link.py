"""A message channel between two processes of a server, for an event loop."""

import asyncio
import logging
import socket
from collections.abc import Callable
from typing import Self, cast

from embedding_runtime.protocol.frames import HEADER, pack, unpack
from embedding_runtime.protocol.messages import Message

__all__ = ["MessageLink"]

_log = logging.getLogger(__name__)

BUFFER = 1 << 17
"""Size of the read buffer. A larger frame is read into its own memory."""


class MessageLink(asyncio.BufferedProtocol):
    """Sends messages, and calls back for each received message and for the end of the stream."""

    def __init__(self, received: Callable[[Message], None], closed: Callable[[str | None], None]) -> None:
        """`closed` gets the protocol error of the peer, or None."""
        self._received, self._closed = received, closed
        self._transport: asyncio.Transport | None = None
        self._buffer, self._filled = bytearray(BUFFER), 0
        self._large: bytearray | None = None
        self._large_kind = self._large_filled = 0
        self._problem: str | None = None

    @classmethod
    async def connect(
        cls, end: socket.socket, received: Callable[[Message], None], closed: Callable[[str | None], None]
    ) -> Self:
        """Create a link from a connected socket."""
        link = cls(received, closed)
        await asyncio.get_running_loop().connect_accepted_socket(lambda: link, end)
        return link

    def send(self, message: Message) -> None:
        """Send a message; ignored after the link is closed."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.writelines(pack(message))

    def abort(self) -> None:
        """Close immediately and discard unsent messages. `closed` is called soon."""
        if self._transport is not None:
            self._transport.abort()

    # Callbacks of the transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's class is not a subclass

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 the cause does not matter
        self._closed(self._problem)

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 the size is fixed
        if self._large is not None:
            return memoryview(self._large)[self._large_filled :]
        return memoryview(self._buffer)[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        if self._large is None:
            self._filled += nbytes
            self._parse()
            return
        self._large_filled += nbytes
        if self._large_filled == len(self._large):
            body, self._large = self._large, None
            self._handle(self._large_kind, memoryview(body))

    def _parse(self) -> None:
        view, at = memoryview(self._buffer), 0
        while self._filled - at >= HEADER.size:
            kind, size = HEADER.unpack_from(view, at)
            start = at + HEADER.size
            if self._filled - start >= size:
                at = start + size
                self._handle(kind, memoryview(bytes(view[start:at])))
            elif HEADER.size + size <= BUFFER:
                break
            else:
                self._large, self._large_kind, self._large_filled = bytearray(size), kind, self._filled - start
                self._large[: self._large_filled] = view[start : self._filled]
                at = self._filled
        self._filled -= at
        view[: self._filled] = bytes(view[at : at + self._filled])

    def _handle(self, kind: int, body: memoryview) -> None:
        if self._problem is not None:
            return
        try:
            self._received(unpack(kind, body))
        except (LookupError, TypeError, ValueError) as error:
            _log.debug("invalid message of kind %d", kind, exc_info=error)
            self._problem = f"it sent an invalid message: {error!r}"
            self.abort()
