"""Reads the body of a request within limits of size and time."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping
from functools import partial

from fastapi import Request, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from embedding_runtime.errors import BadRequest, BodyTooLarge, BodyTooLate, RuntimeFault
from embedding_runtime.frontend import memory
from embedding_runtime.frontend.body_pool import BodyPool, HeldBody, Stage, no_memory
from embedding_runtime.frontend.context import Deadline, RequestContext, context_of
from embedding_runtime.frontend.limits import TIMEOUT_HEADER, Limits
from embedding_runtime.frontend.pipeline.computing import expire, while_wanted
from embedding_runtime.frontend.turns import Turns
from embedding_runtime.protocol.requests import Lane

__all__ = ["LANE_HEADER", "BodyReader"]

LANE_HEADER = "X-Priority"

BODY_RATE = 1 << 16
"""Minimum average upload rate in bytes per second."""

BODIES_AT_ONCE = 4
"""Memory for the bodies of all requests, as a multiple of the largest body."""

LARGE = 1 << 16
"""Bodies of more bytes are parsed and tokenized one at a time, because they take many times their size in Python."""

TRIMMED = 1 << 18
"""After a request with a body of more bytes, free memory is returned to the system."""

LINGER_SECONDS = 5
"""Time in which data of a rejected client is discarded. If closed immediately, it would not see the response."""


class BodyReader:
    """ASGI middleware that reads the whole body before the application sees the request.

    `refuse` creates the response if a limit is exceeded. It also sets the deadline and the lane of the request context.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refuse: Callable[[Request, RuntimeFault], Awaitable[Response]]
    ) -> None:
        self._app, self._limits, self._refuse = app, limits, refuse
        self._pool = BodyPool(max(1, BODIES_AT_ONCE // limits.divided_by) * limits.max_body_bytes)
        self._large = Turns()
        """Turns of large bodies, for parsing and tokenization."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in {"GET", "HEAD"}:
            await self._app(scope, receive, send)
            return
        context = context_of(scope)
        held = self._pool.body(context.principal.name, asyncio.get_running_loop().time())
        context.body, context.limits = held, self._limits
        context.held_body.append(held.release)
        try:
            refusal = await self._handle(context, held, scope, receive, send)
        finally:
            context.answering()
            context.receive = None  # it refers to the request, and would leave it to the garbage collector
            if held.size > TRIMMED:
                asyncio.get_running_loop().call_soon(memory.collect)
        if refusal is None:
            return
        # Outside of the except block: the exception holds the bytes that were read.
        if held.is_complete:
            await refusal(scope, receive, send)
        else:
            await _end(refusal, receive, send)

    async def _handle(
        self, context: RequestContext, held: HeldBody, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """Read the body and call the application, or return the error response."""
        headers = dict(scope["headers"])
        try:
            context.deadline = self._deadline(headers, scope)
            context.lane = _lane(headers)
            body = await self._read(headers, receive, context.deadline, held)
            if body is None:
                return None
            if len(body) > LARGE:
                context.receive = receive
                async with held.waiting():
                    await while_wanted(context, partial(self._take_turn, context))
        except RuntimeFault as fault:
            return await self._refuse(Request(scope), fault)
        held.stage = Stage.IN_USE
        receive = _after(body, receive)
        del body

        async def answer(message: Message) -> None:
            context.answering()  # before sending, which may wait until the client has read the previous response
            await send(message)

        await self._app(scope, receive, answer)
        return None

    async def _take_turn(self, context: RequestContext) -> None:
        await self._large.acquire(context.principal.name)
        context.turn.append(self._large.release)

    def _deadline(self, headers: Mapping[bytes, bytes], scope: Scope) -> Deadline:
        requested = headers.get(TIMEOUT_HEADER.lower().encode())
        seconds = self._limits.seconds(None if requested is None else requested.decode("latin-1"))
        begun: float = scope["state"].get("begun", asyncio.get_running_loop().time())
        return Deadline(seconds, begun + seconds)

    async def _read(
        self, headers: Mapping[bytes, bytes], receive: Receive, deadline: Deadline, held: HeldBody
    ) -> bytes | None:
        """Read the body; None if the client disconnects. Raises BodyTooLarge, BodyTooLate, Overloaded."""
        limit = self._limits.max_body_bytes
        length = int(headers.get(b"content-length", limit))  # the HTTP parser ensures that it is a number
        if length > limit:
            raise BodyTooLarge(limit=limit)
        now = asyncio.get_running_loop().time
        seconds = self._limits.read_timeout + length / BODY_RATE
        if deadline.left < seconds:
            seconds, end = deadline.seconds, deadline.at
        else:
            end = now() + seconds
        content: bytes | bytearray = b""
        try:
            async with asyncio.timeout_at(end) as reading:
                held.when_given_up = partial(expire, reading)
                while not held.is_complete and (message := await receive())["type"] == "http.request":
                    part = message.get("body", b"")
                    if len(content) + len(part) > limit:
                        raise BodyTooLarge(limit=limit)
                    content = _joined(content, part) if content else part
                    if not message.get("more_body"):
                        held.complete()
                    held.add(len(part), now())
                    if held.stage is Stage.GIVEN_UP:
                        break
        except TimeoutError:
            if held.stage is not Stage.GIVEN_UP:
                raise BodyTooLate(seconds=seconds) from None
        finally:
            held.when_given_up = None
        if held.stage is Stage.GIVEN_UP:
            raise no_memory()
        return bytes(content) if held.is_complete else None


def _joined(content: bytes | bytearray, part: bytes) -> bytearray:
    """Append to one growing block, which fragments memory less than many blocks."""
    whole = content if isinstance(content, bytearray) else bytearray(content)
    whole += part
    return whole


def _lane(headers: Mapping[bytes, bytes]) -> Lane | None:
    """Raises BadRequest."""
    requested = headers.get(LANE_HEADER.lower().encode())
    if requested is None:
        return None
    try:
        return Lane(requested.decode("latin-1").strip().lower())
    except ValueError:
        raise BadRequest(f"{LANE_HEADER} must be {' or '.join(Lane)}") from None


def _after(body: bytes, receive: Receive) -> Receive:
    """A `receive` that replays the body."""
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def next_message() -> Message:
        return messages.pop() if messages else await receive()

    return next_message


async def _end(response: Response, receive: Receive, send: Send) -> None:
    """Send a response immediately. Then discard the rest of the body until it ends, the client closes or time is up."""
    headers = [*response.raw_headers, (b"connection", b"close")]
    await send({"type": "http.response.start", "status": response.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": response.body, "more_body": True})
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LINGER_SECONDS):
            while (await receive()).get("more_body"):
                pass
    await send({"type": "http.response.body"})
