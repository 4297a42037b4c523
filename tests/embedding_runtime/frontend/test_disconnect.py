"""Clients that disconnect, below HTTP, where the test controls the time."""

import asyncio
import json
import time
from collections.abc import MutableMapping
from typing import Any

import pytest

from embedding_runtime.errors import ClientGone, DeadlinePassed
from embedding_runtime.frontend.app import create_app
from embedding_runtime.frontend.context import Client, Deadline, RequestContext
from embedding_runtime.frontend.pipeline.computing import while_wanted
from support.played_worker import ANYBODY, a_worker, ids
from support.services import a_service

BODY = json.dumps({"model": "m", "input": "hello"}).encode()
SCOPE = {
    "type": "http",
    "method": "POST",
    "path": "/v1/embeddings",
    "raw_path": b"/v1/embeddings",
    "query_string": b"",
    "headers": [(b"content-type", b"application/json")],
}


async def test_texts_of_a_disconnected_client_are_dequeued() -> None:
    async with a_worker() as worker:
        blocker = asyncio.create_task(worker.engine.embed(ids(1), ANYBODY))
        work = await worker.work()
        leaves = asyncio.Event()
        messages = iter([{"type": "http.request", "body": BODY}])

        async def receive() -> MutableMapping[str, Any]:
            if (message := next(messages, None)) is not None:
                return message
            await leaves.wait()
            return {"type": "http.disconnect"}

        async def send(message: MutableMapping[str, Any]) -> None:
            """Nobody reads it."""

        request = asyncio.create_task(create_app(a_service(worker.engine))(dict(SCOPE), receive, send))
        async with asyncio.timeout(60):
            while not worker.engine._queue.tokens:  # noqa: ASYNC110 tokenization runs in a thread
                await asyncio.sleep(0)
            leaves.set()
            await request
        assert worker.engine._queue.tokens == 0
        worker.answer(work)
        await blocker


async def test_a_client_may_disconnect_in_the_moment_of_its_deadline() -> None:
    loop, client = asyncio.get_running_loop(), Client()
    problems: list[str] = []
    loop.set_exception_handler(lambda _, problem: problems.append(str(problem)))
    at = loop.time() + 0.01
    context = RequestContext("id", ANYBODY, deadline=Deadline(0.01, at), client=client)
    request = asyncio.create_task(while_wanted(context, asyncio.Event().wait))
    loop.call_at(at + 0.001, client.disconnect)
    await asyncio.sleep(0)
    time.sleep(0.02)  # noqa: ASYNC251 both are due when the loop goes on
    with pytest.raises((ClientGone, DeadlinePassed)):
        await request
    assert not problems
