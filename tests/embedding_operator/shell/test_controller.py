"""The workers: nothing is swallowed, nothing stops the others."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from embedding_operator.errors import Conflict, Denied, LeaseLost, Unavailable
from embedding_operator.shell.controller import Controller
from embedding_operator.shell.queue import Backoff, WorkQueue
from support.clock import HandClock, settle

Reconcile = Callable[[str], Awaitable[timedelta | None]]


class World:
    """A queue and its workers, with what they did."""

    def __init__(self, workers: int = 2) -> None:
        self.clock = HandClock()
        self.queue: WorkQueue[str] = WorkQueue(self.clock, Backoff(first=1, most=60), chance=lambda: 0.0)
        self.done: list[str] = []
        self.answers: dict[str, list[timedelta | BaseException | None]] = {}
        self.controller = Controller(self.queue, self.reconcile, workers=workers)

    async def reconcile(self, key: str) -> timedelta | None:
        self.done.append(key)
        answer = self.answers[key].pop(0) if self.answers.get(key) else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["World"]:
        task = asyncio.create_task(self.controller.run())
        await settle()
        try:
            yield self
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


async def test_a_key_is_reconciled_once() -> None:
    async with World().at_work() as world:
        world.queue.add("a")
        world.queue.add("a")
        await settle()
    assert world.done == ["a"]


async def test_one_key_is_never_reconciled_twice_at_once_however_many_workers() -> None:
    started: list[str] = []
    go_on = asyncio.Event()

    async def slow(key: str) -> None:
        started.append(key)
        await go_on.wait()

    world = World()
    world.controller = Controller(world.queue, slow, workers=4)
    async with world.at_work():
        for _ in range(3):
            world.queue.add("a")
            await settle()
        assert started == ["a"]
        go_on.set()
        await settle()
    assert started == ["a", "a"]  # what happened meanwhile is one more look


async def test_no_more_keys_than_workers_are_under_way() -> None:
    under_way: set[str] = set()

    async def stuck(key: str) -> None:
        under_way.add(key)
        await asyncio.Event().wait()

    world = World()
    world.controller = Controller(world.queue, stuck, workers=3)
    async with world.at_work():
        for key in "abcdef":
            world.queue.add(key)
        await settle()
    assert under_way == {"a", "b", "c"}


async def test_a_reconcile_that_wants_another_look_gets_it() -> None:
    world = World()
    world.answers["a"] = [timedelta(seconds=10), None]
    async with world.at_work():
        world.queue.add("a")
        await world.clock.advance(9)
        assert world.done == ["a"]
        await world.clock.advance(60)
    assert world.done == ["a", "a"]


@pytest.mark.parametrize(
    ("fault", "seconds"),
    [
        (Conflict("409"), 0),
        (Denied("403"), 60),
        (Unavailable("503"), 1),
        (Unavailable("429", retry_after=7), 7),
        (ZeroDivisionError("a bug"), 1),
    ],
)
async def test_a_key_that_failed_is_logged_and_comes_back(
    fault: Exception, seconds: float, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.answers["a"] = [fault]
    with caplog.at_level(logging.WARNING):
        async with world.at_work():
            world.queue.add("a")
            await world.clock.advance(seconds)
    assert world.done == ["a", "a"]
    assert f"trying again in {seconds:.0f} s" in caplog.text
    assert "a:" in caplog.text


async def test_a_bug_with_one_key_does_not_stop_the_others() -> None:
    world = World(workers=1)
    world.answers["a"] = [ZeroDivisionError("a bug")]
    async with world.at_work():
        world.queue.add("a")
        world.queue.add("b")
        await settle()
    assert world.done == ["a", "b"]


async def test_a_lost_lease_ends_the_work() -> None:
    world = World()
    world.answers["a"] = [LeaseLost("gone")]
    world.queue.add("a")
    with pytest.raises(ExceptionGroup) as raised:
        await world.controller.run()
    assert raised.group_contains(LeaseLost)
