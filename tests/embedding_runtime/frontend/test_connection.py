"""What a connection writes to its transport, and what a request leaves behind."""

import asyncio
import gc
import json
import socket
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.server import ServerState

from embedding_runtime.contract import ServeArgs
from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.connection import Connection
from embedding_runtime.frontend.connection_limits import ConnectionLimits, Connections
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.observability.metrics import Metrics
from support.played_worker import a_worker
from support.services import a_service

START = {"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"6")]}
POST = b"POST / HTTP/1.1\r\nContent-Length: 2\r\n"


class RecordingTransport(asyncio.Transport):
    """Records each system call that a real transport would make."""

    def __init__(self, end: socket.socket) -> None:
        super().__init__({"socket": end})
        self.sent: list[bytes] = []
        self.closed = False

    def write(self, data: Any) -> None:
        if self.closed:
            raise RuntimeError("as uvloop's")
        self.sent.append(bytes(data))

    def writelines(self, list_of_data: Any) -> None:
        self.write(b"".join(list_of_data))

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """The test sends what it wants."""

    def resume_reading(self) -> None:
        """The test sends what it wants."""


@pytest.fixture
def end() -> Iterator[socket.socket]:
    with socket.socket() as end:
        yield end


def answering(*parts: dict[str, Any]) -> ASGIApp:
    """An application that sends these messages after it has received the body."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope
        await receive()
        for part in parts:
            await send(part)
        if not parts or parts[-1].get("more_body", "body" not in parts[-1]):
            raise RuntimeError("the application fails")

    return app


def body(data: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": more}


def connection_to(app: ASGIApp, transport: RecordingTransport) -> Connection:
    args = ServeArgs.from_argv(["--model_dir=/m", "--model_name=m"])
    shared = Connections(ConnectionLimits.of(args), Metrics())
    config = uvicorn.Config(app, http=partial(Connection, shared=shared), lifespan="off", log_config=None)  # type: ignore[arg-type]
    config.load()
    connection = Connection(shared=shared, config=config, server_state=ServerState(), app_state={})
    connection.connection_made(transport)
    return connection


async def answered(app: ASGIApp, end: socket.socket, *requests: bytes) -> RecordingTransport:
    """Send requests piece by piece, and wait until all are answered."""
    transport = RecordingTransport(end)
    connection = connection_to(app, transport)
    for piece in requests:
        connection.data_received(piece)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
    while connection.server_state.tasks:
        await asyncio.gather(*connection.server_state.tasks, return_exceptions=True)
    connection.connection_lost(None)
    return transport


async def test_head_and_body_are_one_write(end: socket.socket) -> None:
    (sent,) = (await answered(answering(START, body(b"vector")), end, POST + b"\r\n{}")).sent
    assert sent.startswith(b"HTTP/1.1 200 OK\r\n")
    assert sent.endswith(b"\r\n\r\nvector")


async def test_later_parts_of_a_body_are_written_when_they_come(end: socket.socket) -> None:
    parts = (body(b"vec", more=True), body(b"tor"))
    first, second = (await answered(answering(START, *parts), end, POST + b"\r\n{}")).sent
    assert first.endswith(b"\r\n\r\nvec")
    assert second == b"tor"


async def test_pipelined_responses_stay_whole_and_in_order(end: socket.socket) -> None:
    sent = (await answered(answering(START, body(b"vector")), end, 3 * (POST + b"\r\n{}"))).sent
    assert len(sent) == 3
    assert {part[-10:] for part in sent} == {b"\r\n\r\nvector"}


async def test_a_response_to_head_does_not_wait_for_a_body(end: socket.socket) -> None:
    (sent,) = (await answered(answering(START, body(b"vector")), end, b"HEAD / HTTP/1.1\r\n\r\n")).sent
    assert sent.endswith(b"content-length: 6\r\n\r\n")


async def test_100_continue_is_written_before_the_body_comes(end: socket.socket) -> None:
    head = POST + b"Expect: 100-continue\r\n\r\n"
    first, second = (await answered(answering(START, body(b"vector")), end, head, b"{}")).sent
    assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
    assert second.endswith(b"\r\n\r\nvector")


async def test_the_head_is_sent_before_closing_if_the_application_fails_after_it(end: socket.socket) -> None:
    transport = await answered(answering(START), end, POST + b"\r\n{}")
    assert transport.closed
    assert len(transport.sent) == 1


@pytest.mark.parametrize("method", [b"GET", b"HEAD"])
async def test_a_response_is_dropped_if_its_client_has_left_with_another_request_in_the_pipeline(
    end: socket.socket, method: bytes
) -> None:
    answers = asyncio.Event()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del scope, receive
        await answers.wait()
        await send(START)
        await send(body(b"vector"))

    transport = RecordingTransport(end)
    connection = connection_to(app, transport)
    connection.data_received(2 * (method + b" / HTTP/1.1\r\n\r\n"))
    await asyncio.sleep(0)
    connection.connection_lost(None)
    answers.set()
    await asyncio.gather(*connection.server_state.tasks)
    assert transport.sent == []


@pytest.mark.parametrize("field", ["input", "no_such_field"])
async def test_a_request_leaves_nothing_to_the_garbage_collector(end: socket.socket, field: str) -> None:
    # 2,000 requests left 100,000 objects, which took 100 ms to collect: a probe had to wait for it.
    content = json.dumps({field: "hello"}).encode()
    fields = b"Content-Type: application/json\r\nX-Request-Id: %s\r\nContent-Length: %d" % (
        field.encode(),
        len(content),
    )
    head = b"POST /v1/embeddings HTTP/1.1\r\n" + fields + b"\r\n\r\n"
    async with a_worker() as worker:
        app = create_app(a_service(worker.engine))
        gc.collect()
        gc.disable()
        try:
            answer = asyncio.create_task(answered(app, end, head + content))
            if field == "input":
                worker.answer(await worker.work())
            (sent,) = (await answer).sent
            del answer
            # `isinstance` would ask lazy modules for their class.
            held = [each for each in gc.get_objects() if type(each) is RequestContext and each.id == field]
        finally:
            gc.enable()
    assert sent.startswith(b"HTTP/1.1 200" if field == "input" else b"HTTP/1.1 400")
    assert held == []
