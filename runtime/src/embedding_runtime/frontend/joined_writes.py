"""Writes the head of a response together with the first part of its body."""

import asyncio

__all__ = ["JoinedWrites"]


class JoinedWrites:
    """The transport of one response: sends the head together with the first part of the body.

    uvicorn writes them separately, and each system call takes longer than creating the data.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self._head: bytes | None = None
        """The head until it is sent; empty after that."""

    def write(self, data: bytes) -> None:
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._head is None and not data.startswith(_CONTINUE):
            self._head = data
        else:  # a later part of the body, or what precedes the head
            self._transport.write(data)

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)  # the application has failed before the body
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


_CONTINUE = b"HTTP/1.1 100 "
"""Start of the informational response before the head."""
