"""The engine with several workers that the test controls: dispatch, and batches of crashed workers."""

import asyncio
import random
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_runtime.errors import BackendFailed
from embedding_runtime.protocol.messages import Failed, Work
from embedding_runtime.scheduler import worker_pool
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.engine import Engine
from support.clock import eventually
from support.played_worker import ANYBODY, ENDED, PlayedProcess, PlayedWorkers, ids, several_workers


def asked(engine: Engine, *lengths: int) -> "asyncio.Task[Any]":
    return asyncio.create_task(engine.embed(ids(*lengths), ANYBODY))


async def test_it_is_ready_when_all_workers_are() -> None:
    async with several_workers(2, ready=False) as (engine, workers, _):
        workers.process(0).ready()
        await eventually(lambda: len(engine.pool.ready) == 1)
        assert engine.state is State.LOADING
        workers.process(1).ready()
        await eventually(lambda: engine.state is State.READY)
        assert engine.reason == "2 workers: played"


async def test_requests_go_to_idle_workers_first() -> None:
    async with several_workers(2) as (engine, workers, _):
        tasks = [asked(engine, 10), asked(engine, 11)]
        works = [await process.work() for process in workers.latest]
        assert [work.texts.tokens for work in works] == [10, 11]
        for process, work in zip(workers.latest, works, strict=True):
            process.answer(work)
        assert [rows[0, 0] for rows in await asyncio.gather(*tasks)] == [10, 11]


async def test_the_batch_of_a_crashed_worker_is_retried_by_another() -> None:
    async with several_workers(2) as (engine, workers, _):
        task = asked(engine, 10)
        first, second = workers.latest
        await first.work()
        first.die()
        second.answer(await second.work())
        assert (await task)[0, 0] == 10
        assert engine.state is State.READY


async def test_a_crashed_worker_is_restarted_and_gets_batches() -> None:
    async with several_workers(2) as (engine, workers, _):
        workers.process(0).die()
        await eventually(lambda: len(workers.started) == 3)
        await workers.all_connected()
        workers.process(0).ready()
        await eventually(lambda: len(engine.pool.ready) == 2)
        tasks = [asked(engine, 10), asked(engine, 11)]
        for process in workers.latest:
            process.answer(await process.work())
        await asyncio.gather(*tasks)


async def test_a_request_that_crashes_two_workers_fails_alone() -> None:
    async with several_workers(3) as (engine, workers, _):
        poison = asked(engine, 10)
        first, second, third = workers.latest
        await first.work()
        first.die()
        await second.work()
        second.die()
        with pytest.raises(BackendFailed, match="two workers crashed while they computed this request"):
            await poison
        healthy = asked(engine, 11)
        third.answer(await third.work())
        assert (await healthy)[0, 0] == 11


async def test_a_hanging_worker_is_replaced_while_others_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "TICK_SECONDS", 0.001)
    async with several_workers(2, stuck_after=0.01) as (engine, workers, _):
        task = asked(engine, 10)
        first, second = workers.latest
        await first.work()
        second.answer(await second.work())
        assert (await task)[0, 0] == 10
        await first.gone.wait()
        assert engine.state is State.READY


async def test_the_server_ends_when_no_worker_is_left() -> None:
    async with several_workers(2) as (engine, workers, running):
        task = asked(engine, 10)
        for process in workers.latest:
            process.die()
        with pytest.raises(BackendFailed, match=ENDED):
            await task
        assert await running == ENDED
        assert engine.state is State.FAILED


async def test_a_worker_that_crashes_repeatedly_ends_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "MAX_RESTARTS", 3)
    async with several_workers(2) as (engine, workers, running):
        for restarts in range(1, 4):
            workers.process(0).die()
            await eventually(lambda restarts=restarts: len(workers.started) == 2 + restarts)  # type: ignore[misc]
            await workers.all_connected()
            workers.process(0).ready()
            await eventually(lambda: len(engine.pool.ready) == 2)
        workers.process(0).die()
        assert await running == ENDED


async def test_a_worker_that_crashes_during_startup_ends_the_server() -> None:
    async with several_workers(2, ready=False) as (_, workers, running):
        workers.process(0).ready()
        workers.process(1).die()
        assert await running == ENDED


@given(
    st.integers(0, 2**32),
    st.integers(2, 4),
    st.lists(st.lists(st.integers(1, 400), min_size=1, max_size=30), max_size=12),
)
@settings(deadline=None, max_examples=40)
def test_every_text_is_answered_once_whatever_crashes(seed: int, count: int, requests: list[list[int]]) -> None:
    asyncio.run(_every_text_is_answered_once(random.Random(seed), count, requests))


async def _every_text_is_answered_once(chance: random.Random, count: int, requests: list[list[int]]) -> None:
    async with several_workers(count) as (engine, workers, _):
        playing = asyncio.create_task(_play(engine, workers, chance))
        tasks = [asked(engine, *lengths) for lengths in requests]
        answers = asyncio.gather(*tasks, return_exceptions=True)
        ends: list[asyncio.Future[Any]] = [answers, playing]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        playing.cancel()
        await asyncio.wait([playing])
        assert playing.cancelled(), playing.exception()
        found = await answers
        for lengths, rows in zip(requests, found, strict=True):
            if isinstance(rows, BaseException):
                assert isinstance(rows, BackendFailed)
            else:
                assert rows[:, 0].tolist() == lengths
        assert engine.pool.tokens == 0 or engine.state is State.FAILED


async def _play(engine: Engine, workers: PlayedWorkers, chance: random.Random) -> None:
    """Workers answer, fail at batches of several texts, die, and come back."""
    losses = 0
    while True:
        await asyncio.sleep(0)
        for process in (each for each in workers.latest if each.is_connected):
            if not process.is_ready:
                process.ready()
            elif process.has_work:
                losses += _do(process, await process.work(), chance, may_die=losses < worker_pool.MAX_RESTARTS)


def _do(process: PlayedProcess, work: Work, chance: random.Random, *, may_die: bool) -> bool:
    dies = may_die and chance.random() < 0.2
    if dies:
        process.die()
    elif len(work.texts) > 1 and chance.random() < 0.2:
        process.say(Failed(work.batch))
    else:
        process.answer(work)
    return dies
