"""The workers: nothing is swallowed, nothing stops the others, nothing is done while another leads."""

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from datetime import timedelta

import pytest

from embedding_operator.errors import Conflict, Denied, LeaseLost, Unavailable
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.metrics import Metrics
from embedding_operator.shell.queue import WorkQueue
from embedding_operator.shell.workers import Workers
from support.clock import ManualClock, settle

Reconcile = Callable[[str], Awaitable[timedelta | None]]


class World:
    """A queue and its workers, with what they did."""

    def __init__(self, number: int = 2, reconcile: Reconcile | None = None) -> None:
        self.clock = ManualClock()
        self.queue: WorkQueue[str] = WorkQueue(self.clock, Backoff(first=1, most=60), chance=lambda: 0.0)
        self.reconciled: list[str] = []
        self.answers: dict[str, list[timedelta | BaseException | None]] = {}
        self.leads = asyncio.Event()
        self.leads.set()
        self.metrics = Metrics()
        self.workers = Workers(
            self.queue,
            reconcile or self.reconcile,
            self.clock,
            number=number,
            may_work=self.may_work,
            metrics=self.metrics,
        )

    async def may_work(self) -> None:
        await self.leads.wait()

    async def reconcile(self, key: str) -> timedelta | None:
        self.reconciled.append(key)
        answer = self.answers[key].pop(0) if self.answers.get(key) else None
        if isinstance(answer, BaseException):
            raise answer
        return answer

    @asynccontextmanager
    async def at_work(self) -> AsyncIterator["World"]:
        task = asyncio.create_task(self.workers.run())
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
    assert world.reconciled == ["a"]


async def test_one_key_is_never_reconciled_twice_at_once_however_many_workers() -> None:
    started: list[str] = []
    go_on = asyncio.Event()

    async def slow(key: str) -> None:
        started.append(key)
        await go_on.wait()

    async with World(4, slow).at_work() as world:
        for _ in range(3):
            world.queue.add("a")
            await settle()
        assert started == ["a"]
        go_on.set()
        await settle()
    assert started == ["a", "a"]  # what happened meanwhile is one more reconcile


async def test_no_more_keys_than_workers_are_reconciled_at_once_and_the_longest_is_known() -> None:
    under_way: set[str] = set()

    async def stuck(key: str) -> None:
        under_way.add(key)
        await asyncio.Event().wait()

    async with World(3, stuck).at_work() as world:
        for key in "abcdef":
            world.queue.add(key)
        await settle()
        world.clock.now += 130
        assert under_way == {"a", "b", "c"}
        assert world.workers.longest == 130


async def test_a_reconcile_that_asks_for_another_gets_it() -> None:
    world = World()
    world.answers["a"] = [timedelta(seconds=10), None]
    async with world.at_work():
        world.queue.add("a")
        await world.clock.advance(9)
        assert world.reconciled == ["a"]
        await world.clock.advance(60)
    assert world.reconciled == ["a", "a"]


@pytest.mark.parametrize(
    ("fault", "seconds", "reason"),
    [
        (Denied("403"), 10, "Denied"),
        (Unavailable("503"), 1, "ApiServerUnavailable"),
        (Unavailable("429", retry_after=7), 7, "ApiServerUnavailable"),
        (ZeroDivisionError("a bug"), 1, "OperatorBug"),
    ],
)
async def test_a_key_that_failed_is_logged_counted_and_comes_back(
    fault: Exception, seconds: float, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    world = World()
    world.answers["a"] = [fault]
    with caplog.at_level(logging.WARNING):
        async with world.at_work():
            world.queue.add("a")
            await world.clock.advance(seconds)
    assert world.reconciled == ["a", "a"]
    assert f"again in {seconds:.0f} s" in caplog.text
    assert f'errors_total{{reason="{reason}"}} 1.0' in world.metrics.text().decode()


async def test_a_conflict_is_tried_again_at_once_and_is_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    world.answers["a"] = [Conflict("changed")]
    with caplog.at_level(logging.WARNING):
        async with world.at_work():
            world.queue.add("a")
            await world.clock.advance(0)
    assert world.reconciled == ["a", "a"]
    assert caplog.records == []


async def test_a_bug_with_one_key_does_not_stop_the_others() -> None:
    world = World(1)
    world.answers["a"] = [ZeroDivisionError("a bug")]
    async with world.at_work():
        world.queue.add("a")
        world.queue.add("b")
        await settle()
    assert world.reconciled == ["a", "b"]


async def test_while_this_process_does_not_lead_keys_wait_and_none_has_failed() -> None:
    world = World(1)
    world.answers["a"] = [LeaseLost("not sent")]
    async with world.at_work():
        world.leads.clear()
        world.queue.add("a")
        await settle()  # the worker was waiting for a key, and the write was refused
        assert world.reconciled == ["a"]
        await world.clock.advance(100)
        assert world.reconciled == ["a"]
        world.leads.set()
        await settle()
    assert world.reconciled == ["a", "a"]
    assert world.queue.failures("a") == 0
