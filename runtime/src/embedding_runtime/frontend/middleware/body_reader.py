"""Reads the whole body of a request, within the limits of bytes and seconds."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedding_runtime.errors import BodyTooLarge, BodyTooLate, Overloaded, RuntimeFault
from embedding_runtime.frontend.context import Deadline, context_of
from embedding_runtime.frontend.limits import TIMEOUT_HEADER, Limits

__all__ = ["BodyReader"]

BODY_RATE = 1 << 16
"""Bytes of a body that have to come in a second, on the whole."""

BODIES_AT_ONCE = 8
"""Times the largest body: more bytes than that are not held for all requests together."""

LINGER_SECONDS = 5
"""How long what a refused client still sends is read and dropped: closed at once, it would not see its answer."""


class BodyReader:
    """ASGI middleware: the whole body is here, within its limits, before the application sees the request.

    `refuse` makes the answer where it is not. The deadline of the request's context is set here.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refuse: Callable[[Request, RuntimeFault], Awaitable[Response]]
    ) -> None:
        self._app, self._limits, self._refuse = app, limits, refuse
        self._held = 0
        """Bytes of bodies, of all requests under way."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        try:
            context = context_of(scope)
            context.deadline = self._deadline(headers)
            body = await self._read(headers, receive, context.deadline)
        except RuntimeFault as fault:
            await _end(await self._refuse(Request(scope), fault), receive, send)
            return
        if body is None:
            return
        held, receive = len(body), _after(body, receive)
        del body
        try:
            await self._app(scope, receive, send)
        finally:
            self._held -= held

    def _deadline(self, headers: Mapping[bytes, bytes]) -> Deadline:
        asked = headers.get(TIMEOUT_HEADER.lower().encode())
        seconds = self._limits.seconds(None if asked is None else asked.decode("latin-1"))
        return Deadline(seconds, asyncio.get_running_loop().time() + seconds)

    async def _read(self, headers: Mapping[bytes, bytes], receive: Receive, deadline: Deadline) -> bytes | None:
        """All of it, counted as held; None when the client is gone. Raises BodyTooLarge, BodyTooLate, Overloaded."""
        limit = self._limits.max_body_bytes
        length = int(headers.get(b"content-length", limit))  # a number: the HTTP parser has seen to it
        if length > limit:
            raise BodyTooLarge(limit=limit)
        seconds = min(deadline.seconds, self._limits.read_timeout + length / BODY_RATE)
        parts: list[bytes] = []
        size, whole = 0, False
        try:
            async with asyncio.timeout_at(deadline.at - deadline.seconds + seconds):
                while not whole and (message := await receive())["type"] == "http.request":
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._held += len(parts[-1])
                    if size > limit:
                        raise BodyTooLarge(limit=limit)
                    if self._held > BODIES_AT_ONCE * limit:
                        raise Overloaded("the bodies of other requests fill the memory for them", retry_after=1)
                    whole = not message.get("more_body")
            return b"".join(parts) if whole else None
        except TimeoutError:
            raise BodyTooLate(seconds=seconds) from None
        finally:
            if not whole:
                self._held -= size


def _after(body: bytes, receive: Receive) -> Receive:
    """The messages of a request whose body has been read."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


async def _end(said: Response, receive: Receive, send: Send) -> None:
    """The answer at once, then the end of the connection: by the client, or when it has sent all or for too long."""
    headers = [*said.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": said.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": said.body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body"})
