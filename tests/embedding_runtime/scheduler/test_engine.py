"""The engine with a worker that the test controls."""

import asyncio
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embedding_runtime.errors import BackendFailed, NotReady, Overloaded, TextFailed, VectorNotFinite
from embedding_runtime.observability import gather
from embedding_runtime.protocol.messages import Broken, Failed, Vectors
from embedding_runtime.protocol.requests import Principal
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.scheduler import batches, worker_link, worker_pool
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.engine import Engine
from support.clock import ManualClock, eventually
from support.played_worker import ANYBODY, PlayedWorker, a_worker, ids, rows_for


def asked(engine: Engine, *lengths: int) -> "asyncio.Task[Any]":
    return asyncio.create_task(engine.embed(ids(*lengths), ANYBODY))


async def test_texts_of_several_requests_share_a_batch_and_each_gets_its_own_rows() -> None:
    async with a_worker() as worker:
        first = asked(worker.engine, 1)
        work = await worker.work()
        second, third = asked(worker.engine, 2, 3), asked(worker.engine, 4)
        await asyncio.sleep(0)  # let both be queued
        worker.answer(work)
        together = await worker.work()
        assert [len(text) for text in together.texts] == [2, 3, 4]
        worker.answer(together)
        got = [rows[:, 0].tolist() for rows in await asyncio.gather(first, second, third)]
        assert got == [[1], [2, 3], [4]]


async def test_no_more_than_two_batches_are_under_way() -> None:
    async with a_worker() as worker:
        tasks = [asked(worker.engine, length) for length in (300, 301, 302)]
        first, second = await worker.work(), await worker.work()
        third = asyncio.create_task(worker.work())
        await asyncio.sleep(0)
        assert not third.done()
        worker.answer(first)
        worker.answer(second)
        worker.answer(await third)
        await asyncio.gather(*tasks)


async def test_a_concurrent_worker_gets_half_of_the_texts_in_each_batch() -> None:
    async with a_worker(concurrent=True) as worker:
        task = asked(worker.engine, 100, 200, 300, 400)
        first, second = await worker.work(), await worker.work()
        assert [[len(text) for text in work.texts] for work in (first, second)] == [[100, 200], [300, 400]]
        assert not first.exclusive
        assert not second.exclusive
        worker.answer(second)  # each when it is done, in any order
        worker.answer(first)
        assert as_dense(await task)[:, 0].tolist() == [100, 200, 300, 400]


async def test_the_duration_of_each_concurrent_batch_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = ManualClock()
    for module in (batches, worker_link):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=clock.time))
    async with a_worker(concurrent=True) as worker:
        task = asked(worker.engine, 300, 301)
        first, second = await worker.work(), await worker.work()
        clock.now += 1
        worker.answer(first)
        await eventually(lambda: worker.engine.pool.tokens == 301)
        clock.now += 1
        worker.answer(second)
        await task
        told, _ = gather.exposition(await worker.engine.collect(), "")
        assert b"embedding_batch_inference_duration_seconds_sum 3.0\n" in told


async def test_few_tokens_are_batched_when_the_worker_is_free() -> None:
    async with a_worker() as worker:
        tasks = [asked(worker.engine, 3)]
        first = await worker.work()
        tasks += [asked(worker.engine, 4), asked(worker.engine, 5)]
        together = asyncio.create_task(worker.work())
        await asyncio.sleep(0)
        assert not together.done()
        worker.answer(first)
        assert [len(text) for text in (await together).texts] == [4, 5]
        worker.answer(together.result())
        await asyncio.gather(*tasks)


async def test_a_request_longer_than_a_batch_is_split_and_joined() -> None:
    async with a_worker() as worker:
        lengths = [700] * 7
        task = asked(worker.engine, *lengths)
        sizes: list[int] = []
        while sum(sizes) < len(lengths):
            work = await worker.work()
            sizes.append(len(work.texts))
            worker.answer(work)
        assert sizes == [2, 2, 2, 1]
        assert (await task).shape == (7, 2)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
async def test_a_vector_that_is_not_finite_fails_its_own_request_alone(wrong: float) -> None:
    async with a_worker() as worker:
        blocker = asked(worker.engine, 1)
        work = await worker.work()
        poisoned, healthy = asked(worker.engine, 2, 3), asked(worker.engine, 4)
        await asyncio.sleep(0)
        worker.answer(work)
        shared = await worker.work()
        rows = rows_for(shared.texts)
        rows[1, 1] = wrong
        worker.say(Vectors(shared.batch, rows))
        with pytest.raises(VectorNotFinite, match=r"input\[1\]"):
            await poisoned
        assert as_dense(await healthy)[:, 0].tolist() == [4]
        await blocker


async def test_texts_of_a_cancelled_request_are_not_computed() -> None:
    async with a_worker() as worker:
        blocker = asked(worker.engine, 1)
        work = await worker.work()
        gone, stays = asked(worker.engine, 2), asked(worker.engine, 3)
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.wait({gone})
        worker.answer(work)
        after = await worker.work()
        assert [len(text) for text in after.texts] == [3]
        worker.answer(after)
        await asyncio.gather(blocker, stays)


async def test_cancelling_a_request_does_not_harm_others_in_its_batch() -> None:
    async with a_worker() as worker:
        gone = asked(worker.engine, 2)
        work = await worker.work()
        gone.cancel()
        stays = asked(worker.engine, 3)
        worker.answer(work)
        worker.answer(await worker.work())
        assert as_dense(await stays)[:, 0].tolist() == [3]


async def test_requests_before_the_worker_is_ready_get_503() -> None:
    async with a_worker(ready=False) as worker:
        with pytest.raises(NotReady, match="loading"):
            await worker.engine.embed(ids(1), ANYBODY)


async def test_when_the_worker_exits_every_queued_request_fails() -> None:
    async with a_worker() as worker:
        tasks = [asked(worker.engine, length) for length in (1, 2, 3)]
        await worker.work()
        await worker.end()
        assert worker.engine.state is State.FAILED
        for task in tasks:
            with pytest.raises(BackendFailed):
                await task
        with pytest.raises(BackendFailed):
            await worker.engine.embed(ids(1), ANYBODY)


async def test_the_message_of_a_broken_worker_is_reported() -> None:
    async with a_worker() as worker:
        task = asked(worker.engine, 1)
        worker.say(Broken("out of cheese"))
        with pytest.raises(BackendFailed, match="out of cheese"):
            await task


async def test_a_stopping_engine_is_not_ready_but_still_answers() -> None:
    async with a_worker() as worker:
        before = asked(worker.engine, 1)
        work = await worker.work()
        worker.engine.stop()
        assert worker.engine.state is State.STOPPING
        late = asked(worker.engine, 2)
        worker.answer(work)
        worker.answer(await worker.work())
        assert [len(rows) for rows in await asyncio.gather(before, late)] == [1, 1]


async def test_a_full_queue_rejects_requests() -> None:
    async with a_worker(max_waiting_tokens=5) as worker:
        tasks = [asked(worker.engine, 1), asked(worker.engine, 4)]
        work = await worker.work()
        with pytest.raises(Overloaded, match="5 tokens are queued ahead of this request's 1: retry in 1 s") as caught:
            await worker.engine.embed(ids(1), ANYBODY)
        assert caught.value.retry_after == 1
        worker.answer(work)
        worker.answer(await worker.work())
        await asyncio.gather(*tasks)
        longer_than_the_line = asked(worker.engine, 9)
        worker.answer(await worker.work())
        assert as_dense(await longer_than_the_line)[:, 0].tolist() == [9]


async def test_a_request_that_would_miss_its_deadline_is_rejected() -> None:
    async with a_worker(tokens_per_second=1000) as worker:
        first = asked(worker.engine, 900)
        work = await worker.work()
        with pytest.raises(Overloaded, match="900 tokens are queued ahead of this request's 1"):
            await worker.engine.embed(ids(1), ANYBODY, seconds=1e-9)
        patient = asked(worker.engine, 1)
        worker.answer(work)
        worker.answer(await worker.work())
        await asyncio.gather(first, patient)


@pytest.mark.parametrize("poison", range(5))
async def test_a_text_that_the_worker_cannot_compute_fails_its_own_request_alone(poison: int) -> None:
    async with a_worker() as worker:
        blocker = asked(worker.engine, 1)
        work = await worker.work()
        tasks = [asked(worker.engine, length, 10) for length in (2, 3, 4, 5, 6)]
        await asyncio.sleep(0)
        worker.answer(work)
        playing = asyncio.create_task(fail_whatever_holds(worker, poison + 2))
        for number, task in enumerate(tasks):
            if number == poison:
                with pytest.raises(TextFailed, match=r"input\[0\]"):
                    await task
            else:
                assert as_dense(await task)[:, 0].tolist() == [number + 2, 10]
        playing.cancel()
        await blocker


async def fail_whatever_holds(worker: PlayedWorker, length: int) -> None:
    while True:
        work = await worker.work()
        if length in map(len, work.texts):
            worker.say(Failed(work.batch))
        else:
            worker.answer(work)


async def test_rows_of_a_split_batch_are_in_the_order_of_their_texts() -> None:
    async with a_worker() as worker:
        task = asked(worker.engine, 700, 701, 702)
        first, second = await worker.work(), await worker.work()
        worker.say(Failed(first.batch))
        worker.answer(second)
        for _ in range(2):
            worker.answer(await worker.work())
        assert as_dense(await task)[:, 0].tolist() == [700, 701, 702]


async def test_halves_of_a_failed_batch_count_as_queued() -> None:
    async with a_worker(max_waiting_tokens=2000) as worker:
        task = asked(worker.engine, 500, 500, 500, 500)
        work = await worker.work()
        worker.say(Failed(work.batch))
        halves = [await worker.work(), await worker.work()]
        assert [len(half.texts) for half in halves] == [2, 2]
        worker.say(Failed(halves[0].batch))
        again = [await worker.work()]
        assert worker.engine.pool.tokens + worker.engine._queue.tokens == 2000
        with pytest.raises(Overloaded):
            await worker.engine.embed(ids(1), ANYBODY)
        worker.answer(halves[1])
        again.append(await worker.work())
        for half in again:
            worker.answer(half)
        assert as_dense(await task)[:, 0].tolist() == [500] * 4


@pytest.mark.parametrize("rows", [1, 3])
async def test_a_worker_that_answers_with_a_wrong_number_of_rows_is_killed(rows: int) -> None:
    async with a_worker() as worker:
        task = asked(worker.engine, 1, 2)
        work = await worker.work()
        worker.say(Vectors(work.batch, np.zeros((rows, 2), dtype=np.float32)))
        with pytest.raises(BackendFailed, match=f"{rows} rows for a batch of 2 texts"):
            await asyncio.wait_for(task, 60)
        assert worker.engine.state is State.FAILED


async def test_a_query_is_dispatched_before_an_earlier_bulk_request() -> None:
    async with a_worker(tokens_per_second=8000) as worker:
        bulk = asked(worker.engine, *[500] * 40)
        work = await worker.work()
        query = asyncio.create_task(worker.engine.embed(ids(7), Principal("another")))
        await asyncio.sleep(0)
        worker.answer(work)
        after = await worker.work()
        # Three quarters of a batch: the query is waited for.
        assert [len(text) for text in after.texts] == [7, 500, 500, 500]
        worker.answer(after)
        assert as_dense(await query)[:, 0].tolist() == [7]
        for _ in range(9):
            worker.answer(await worker.work())
        assert len(await bulk) == 40


async def test_bulk_requests_take_turns_by_principal() -> None:
    async with a_worker(tokens_per_second=8000) as worker:
        first = asyncio.create_task(worker.engine.embed(ids(*[512] * 20), Principal("a")))
        work = await worker.work()
        second = asyncio.create_task(worker.engine.embed(ids(*[511] * 20), Principal("b")))
        await asyncio.sleep(0)
        worker.answer(work)
        shared = await worker.work()
        assert sorted(len(text) for text in shared.texts) == [511, 511, 512, 512]
        worker.answer(shared)
        playing = asyncio.create_task(fail_whatever_holds(worker, 0))
        await asyncio.gather(first, second)
        playing.cancel()


async def test_the_warm_up_rate_admits_a_request_that_can_meet_its_deadline() -> None:
    async with a_worker(tokens_per_second=8000) as worker:
        for _ in range(50):
            quiet = asked(worker.engine, 1)
            worker.answer(await worker.work())
            await quiet
        large = asked(worker.engine, *[500] * 100)
        work = await worker.work()
        other = asyncio.create_task(worker.engine.embed(ids(*[500] * 100), Principal("another"), seconds=30))
        await asyncio.sleep(0)
        assert not other.done()
        worker.answer(work)
        playing = asyncio.create_task(fail_whatever_holds(worker, 0))
        await asyncio.gather(large, other)
        playing.cancel()


async def test_a_worker_that_does_not_answer_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "TICK_SECONDS", 0.001)
    async with a_worker(stuck_after=0.01) as worker:
        task = asked(worker.engine, 1)
        with pytest.raises(BackendFailed, match="the worker is stuck: a batch of 1 tokens"):
            await task
        assert worker.engine.state is State.FAILED
        said = await worker.running
        assert said is not None
        assert "stuck" in said


async def test_a_worker_that_answers_an_unknown_batch_is_killed() -> None:
    async with a_worker() as worker:
        task = asked(worker.engine, 1)
        work = await worker.work()
        worker.say(Vectors(work.batch + 1, rows_for(work.texts)))
        with pytest.raises(BackendFailed, match="it sent an invalid message"):
            await asyncio.wait_for(task, 60)
        assert worker.engine.state is State.FAILED


async def test_an_engine_whose_watchdog_fails_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_pool, "TICK_SECONDS", "no number")
    async with a_worker(ready=False) as worker:
        said = await asyncio.wait_for(worker.running, 60)
        assert said is not None
        assert "watchdog of the workers failed" in said
