"""Reads the whole body of a request, within the limits of bytes and seconds."""

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
from embedding_runtime.frontend.pipeline.computing import while_wanted
from embedding_runtime.frontend.turns import Turns
from embedding_runtime.protocol.requests import Lane

__all__ = ["LANE_HEADER", "BodyReader"]

LANE_HEADER = "X-Priority"

BODY_RATE = 1 << 16
"""Bytes of a body that have to come in a second, on the whole."""

BODIES_AT_ONCE = 4
"""Times the largest body: more bytes than that are not held for all requests together."""

LARGE = 1 << 16
"""Bytes of a body from which one is parsed and tokenized at a time: in Python, it takes many times its size."""

TRIMMED = 1 << 18
"""Bytes of a body after whose request free memory is given back to the system."""

LINGER_SECONDS = 5
"""How long what a refused client still sends is read and dropped: closed at once, it would not see its answer."""


class BodyReader:
    """ASGI middleware: the whole body is here, within its limits, before the application sees the request.

    `refuse` makes the answer where it is not. The deadline and the lane of the request's context are set here.
    """

    def __init__(
        self, app: ASGIApp, limits: Limits, refuse: Callable[[Request, RuntimeFault], Awaitable[Response]]
    ) -> None:
        self._app, self._limits, self._refuse = app, limits, refuse
        self._pool = BodyPool(max(1, BODIES_AT_ONCE // limits.divided_by) * limits.max_body_bytes)
        self._large = Turns()
        """Of large bodies, while they are parsed and tokenized."""

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
            if held.size > TRIMMED:
                asyncio.get_running_loop().call_soon(memory.collect)
        if refusal is None:
            return
        # Not where the exception is caught: it holds what was read.
        if held.is_complete:
            await refusal(scope, receive, send)
        else:
            await _end(refusal, receive, send)

    async def _handle(
        self, context: RequestContext, held: HeldBody, scope: Scope, receive: Receive, send: Send
    ) -> Response | None:
        """Read the body and let the application see the request, or return why not."""
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
            context.answering()  # now, since sending may wait for a client that has not read the answer before this one
            await send(message)

        await self._app(scope, receive, answer)
        return None

    async def _take_turn(self, context: RequestContext) -> None:
        await self._large.acquire(context.principal.name)
        context.turn.append(self._large.release)

    def _deadline(self, headers: Mapping[bytes, bytes], scope: Scope) -> Deadline:
        asked = headers.get(TIMEOUT_HEADER.lower().encode())
        seconds = self._limits.seconds(None if asked is None else asked.decode("latin-1"))
        begun: float = scope["state"].get("begun", asyncio.get_running_loop().time())
        return Deadline(seconds, begun + seconds)

    async def _read(
        self, headers: Mapping[bytes, bytes], receive: Receive, deadline: Deadline, held: HeldBody
    ) -> bytes | None:
        """All of it; None when the client is gone. Raises BodyTooLarge, BodyTooLate, Overloaded."""
        limit = self._limits.max_body_bytes
        length = int(headers.get(b"content-length", limit))  # a number: the HTTP parser has seen to it
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
                held.when_given_up = lambda: reading.reschedule(now())
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
        if held.stage is Stage.GIVEN_UP:
            raise no_memory()
        return bytes(content) if held.is_complete else None


def _joined(content: bytes | bytearray, part: bytes) -> bytearray:
    """One block that grows, in place of many that leave holes."""
    whole = content if isinstance(content, bytearray) else bytearray(content)
    whole += part
    return whole


def _lane(headers: Mapping[bytes, bytes]) -> Lane | None:
    """Raises BadRequest."""
    asked = headers.get(LANE_HEADER.lower().encode())
    if asked is None:
        return None
    try:
        return Lane(asked.decode("latin-1").strip().lower())
    except ValueError:
        raise BadRequest(f"{LANE_HEADER}: it has to be {' or '.join(Lane)}") from None


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
