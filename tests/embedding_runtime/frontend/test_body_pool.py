"""Which bodies are dropped when the memory for bodies is full."""

import asyncio
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response

from embedding_runtime.contract import ServeArgs
from embedding_runtime.errors import Overloaded, RuntimeFault
from embedding_runtime.frontend.body_pool import PROGRESS, BodyPool, HeldBody, Stage
from embedding_runtime.frontend.context import RequestContext
from embedding_runtime.frontend.limits import Limits
from embedding_runtime.frontend.middleware.body_reader import BodyReader
from embedding_runtime.protocol.requests import Principal
from support.clock import settle

LIMIT = 8 * PROGRESS


def a_body(pool: BodyPool, principal: str, size: int, *, at: float = 0, complete: bool = False) -> HeldBody:
    body = pool.body(principal, at)
    if complete:
        body.complete()
    body.add(size, at)
    return body


def given_up(*bodies: HeldBody) -> list[bool]:
    return [body.stage is Stage.GIVEN_UP for body in bodies]


def test_nothing_is_dropped_while_there_is_memory() -> None:
    pool = BodyPool(LIMIT)
    bodies = [a_body(pool, "a", PROGRESS) for _ in range(8)]
    assert given_up(*bodies) == [False] * 8
    assert pool.used == LIMIT


def test_the_longest_stalled_upload_is_dropped() -> None:
    pool = BodyPool(LIMIT)
    stalled = [a_body(pool, "a", 2 * PROGRESS, at=at) for at in (1, 0, 2, 3)]
    new = a_body(pool, "a", PROGRESS, at=4)
    assert given_up(*stalled, new) == [False, True, False, False, False]


def test_a_trickle_of_bytes_is_not_progress() -> None:
    pool = BodyPool(LIMIT)
    trickling, uploading = a_body(pool, "a", 4 * PROGRESS, at=0), a_body(pool, "a", 3 * PROGRESS, at=1)
    trickling.add(1, 2)
    a_body(pool, "a", PROGRESS, at=3)
    assert given_up(trickling, uploading) == [True, False]


def test_bodies_of_the_principal_that_holds_most_are_dropped() -> None:
    pool = BodyPool(LIMIT)
    small = a_body(pool, "b", PROGRESS, at=0)
    large = [a_body(pool, "a", PROGRESS, at=1) for _ in range(7)]
    small.add(PROGRESS, 2)
    assert given_up(small, *large).count(True) == 1
    assert small.stage is Stage.COMING


def test_the_last_waiting_body_of_the_largest_principal_is_dropped_first() -> None:
    pool = BodyPool(LIMIT)
    waiting = [a_body(pool, "a", PROGRESS, at=at, complete=True) for at in range(8)]
    other = a_body(pool, "b", PROGRESS, at=9)
    assert given_up(*waiting, other) == [False] * 7 + [True, False]


def test_a_body_that_is_being_parsed_is_not_dropped() -> None:
    pool = BodyPool(LIMIT)
    parsed = a_body(pool, "a", LIMIT)
    parsed.stage = Stage.IN_USE
    new = a_body(pool, "b", 1)
    assert given_up(parsed, new) == [False, True]


def test_the_owner_of_dropped_bytes_is_notified() -> None:
    pool = BodyPool(LIMIT)
    dropped: list[str] = []
    body = a_body(pool, "a", LIMIT)
    body.when_given_up = lambda: dropped.append("a")
    a_body(pool, "b", 1, at=1)
    assert (dropped, pool.used) == (["a"], 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3 * PROGRESS), st.booleans()), max_size=30))
def test_memory_never_exceeds_the_limit(sizes: list[tuple[str, int, bool]]) -> None:
    pool = BodyPool(LIMIT)
    bodies = []
    for at, (principal, size, complete) in enumerate(sizes):
        bodies.append(a_body(pool, principal, size, at=at, complete=complete))
        assert pool.used == sum(body.held for body in bodies) <= LIMIT
    for body in bodies:
        body.release()
        body.release()
    assert pool.used == 0


async def test_a_waiting_body_counts_with_its_derived_data_and_can_be_dropped() -> None:
    pool = BodyPool(LIMIT)
    waiting = a_body(pool, "a", PROGRESS, complete=True)

    async def wait() -> None:
        async with waiting.waiting(6 * PROGRESS):
            await asyncio.Event().wait()

    request = asyncio.create_task(wait())
    await settle()
    assert pool.used == 7 * PROGRESS
    a_body(pool, "b", 2 * PROGRESS, at=1)
    with pytest.raises(Overloaded):
        await request
    assert pool.used == 2 * PROGRESS


async def test_a_body_is_not_dropped_after_its_wait() -> None:
    pool = BodyPool(LIMIT)
    waited = a_body(pool, "a", PROGRESS, complete=True)
    async with waited.waiting(PROGRESS):
        pass
    assert pool.used == PROGRESS
    other = a_body(pool, "b", 8 * PROGRESS, at=1)
    assert given_up(waited, other) == [False, True]


async def test_an_upload_may_be_dropped_in_the_moment_of_its_deadline() -> None:
    loop = asyncio.get_running_loop()
    begun = loop.time()
    parts = iter([{"type": "http.request", "body": b"a" * PROGRESS, "more_body": True}])
    refused: list[RuntimeFault] = []

    async def receive() -> Any:
        if (part := next(parts, None)) is None:
            await asyncio.Event().wait()
        return part

    async def refuse(_: Request, fault: RuntimeFault) -> Response:
        refused.append(fault)
        return Response()

    async def ignore(*_: Any) -> None:
        """Neither the application nor the response matters."""

    reader = BodyReader(ignore, Limits.of(ServeArgs(model_name="m", max_body_bytes=PROGRESS)), refuse)
    state = {"context": RequestContext("id", Principal("a")), "begun": begun}
    headers = [(b"x-request-timeout", b"0.05")]
    request = asyncio.create_task(
        reader({"type": "http", "method": "POST", "headers": headers, "state": state}, receive, ignore)
    )
    await settle()
    a_body(reader._pool, "a", 3 * PROGRESS).stage = Stage.IN_USE
    other = reader._pool.body("b", begun)
    problems: list[str] = []
    loop.set_exception_handler(lambda _, problem: problems.append(str(problem)))
    loop.call_at(begun + 0.051, other.add, 1, begun)
    time.sleep(0.06)  # noqa: ASYNC251 both are due when the loop goes on
    await settle()
    request.cancel()
    assert (problems, len(refused)) == ([], 1)
