"""Writes the head of a response together with the first part of its body, and nothing once the client is gone."""

import asyncio

__all__ = ["JoinedWrites"]


class JoinedWrites:
    """The transport of one response: sends the head together with the first part of the body.

    uvicorn writes them separately, and each system call takes longer than creating the data. Of several pipelined
    requests, it tells only the latest that the client is gone, and uvloop raises RuntimeError for the others' writes.
    """

    __slots__ = ("_head", "_transport")

    def __init__(self, transport: asyncio.Transport, *, has_body: bool) -> None:
        """`has_body`: False for a response to HEAD, whose head does not wait for a body."""
        self._transport = transport
        self._head: bytes | None = None if has_body else b""
        """The head until it is sent; empty after that."""

    def write(self, data: bytes) -> None:
        if self.is_closing():
            return
        if self._head:
            self._transport.writelines((self._head, data))
            self._head = b""
        elif self._head is None and not data.startswith(_CONTINUE):
            self._head = data
        else:  # a later part of the body, or what precedes the head
            self._transport.write(data)

    def close(self) -> None:
        if self._head and not self.is_closing():
            self._transport.write(self._head)  # the application has failed before the body
        self._transport.close()

    def is_closing(self) -> bool:
        return self._transport.is_closing()


_CONTINUE = b"HTTP/1.1 100 "
"""Start of the informational response before the head."""
