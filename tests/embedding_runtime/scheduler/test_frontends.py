"""The scheduler in another process: a frontend gets the same results as in one process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import pytest
from prometheus_client import Metric

from embedding_runtime.errors import BackendFailed, NotReady, Overloaded, RateLimited, TextFailed
from embedding_runtime.observability import gather
from embedding_runtime.protocol.messages import Collect, Failed
from embedding_runtime.protocol.requests import Lane, Principal
from embedding_runtime.protocol.rows import as_dense
from embedding_runtime.scheduler import scrapes
from embedding_runtime.scheduler.base import State
from embedding_runtime.scheduler.frontends import Frontends
from embedding_runtime.scheduler.remote import RemoteScheduler
from support.clock import eventually
from support.played_worker import ANYBODY, PlayedWorker, a_worker, ids

LIMITED = Principal("limited", 60)


@asynccontextmanager
async def apart(worker: PlayedWorker, count: int = 1) -> AsyncIterator[tuple[Frontends, list[RemoteScheduler]]]:
    """So many frontends of the engine of this worker."""
    frontends = Frontends(worker.engine)
    pairs = [socket.socketpair() for _ in range(count)]
    lost = await frontends.connect([ours for ours, _ in pairs])
    schedulers = []
    for _, theirs in pairs:
        scheduler = RemoteScheduler(lambda **_: None)
        await scheduler.connect(theirs)
        schedulers.append(scheduler)
    await eventually(lambda: all(each.state is worker.engine.state for each in schedulers))
    try:
        yield frontends, schedulers
    finally:
        for scheduler in schedulers:
            scheduler.close()
        await frontends.gone.wait()
        assert lost.done()


async def test_rows_are_returned_to_the_requesting_frontend() -> None:
    async with a_worker() as worker, apart(worker, 2) as (_, (one, other)):
        first = asyncio.create_task(one.embed(ids(3, 4), ANYBODY))
        worker.answer(await worker.work())
        assert as_dense(await first)[:, 0].tolist() == [3, 4]
        second = asyncio.create_task(other.embed(ids(5), ANYBODY))
        worker.answer(await worker.work())
        assert as_dense(await second)[:, 0].tolist() == [5]


async def test_cancelling_a_request_dequeues_its_texts() -> None:
    async with a_worker() as worker, apart(worker) as (_, (remote,)):
        blocker = asyncio.create_task(remote.embed(ids(1), ANYBODY))
        work = await worker.work()
        gone = asyncio.create_task(remote.embed(ids(2), ANYBODY))
        await eventually(lambda: worker.engine._queue.tokens == 2)
        gone.cancel()
        await eventually(lambda: worker.engine._queue.tokens == 0)
        worker.answer(work)
        await blocker


async def test_the_requests_of_a_crashed_frontend_are_dequeued() -> None:
    async with a_worker() as worker, apart(worker, 2) as (frontends, (one, other)):
        blocker = asyncio.create_task(other.embed(ids(1), ANYBODY))
        work = await worker.work()
        lost = asyncio.create_task(one.embed(ids(2), ANYBODY))
        await eventually(lambda: worker.engine._queue.tokens == 2)
        one.close()
        with pytest.raises(BackendFailed):
            await lost
        await eventually(lambda: worker.engine._queue.tokens == 0)
        worker.answer(work)
        await blocker
        assert not frontends.gone.is_set()


async def test_faults_are_recreated_in_another_process() -> None:
    async with a_worker(max_waiting_tokens=3) as worker, apart(worker) as (_, (remote,)):
        failing = asyncio.create_task(remote.embed(ids(3), ANYBODY))
        work = await worker.work()
        with pytest.raises(Overloaded, match="3 tokens are queued ahead of this request's 1: retry") as refused:
            await remote.embed(ids(1), ANYBODY)
        assert refused.value.retry_after == 1
        worker.say(Failed(work.batch))
        with pytest.raises(TextFailed, match=r"input\[0\]") as failed:
            await failing
        assert (failed.value.index, failed.value.param) == (0, "input")


async def test_admission_is_checked_and_tokens_are_charged_before_work() -> None:
    async with a_worker() as worker, apart(worker) as (_, (remote,)):
        await remote.check_admission(1, 60, LIMITED, lane=None, seconds=1)
        await remote.charge(LIMITED, 60)
        with pytest.raises(RateLimited, match="the request has at least 10 tokens"):
            await remote.check_admission(1, 10, LIMITED, lane=Lane.BULK, seconds=1)


async def test_a_budget_is_shared_by_all_frontends_and_each_reports_it() -> None:
    async with a_worker() as worker, apart(worker, 2) as (_, (one, other)):
        first = asyncio.create_task(one.embed(ids(20), LIMITED))
        worker.answer(await worker.work())
        await first
        second = asyncio.create_task(other.embed(ids(30), LIMITED))
        worker.answer(await worker.work())
        await second
        limit = other.rate_limit(LIMITED)
        assert limit is not None
        assert (limit.per_minute, limit.remaining // 5) == (60, 2)
        assert one.rate_limit(ANYBODY) is None


async def test_the_state_comes_from_the_scheduler() -> None:
    async with a_worker(ready=False) as worker, apart(worker) as (_, (remote,)):
        with pytest.raises(NotReady, match="the model is loading"):
            await remote.embed(ids(1), ANYBODY)
        worker.process.ready()
        await eventually(lambda: remote.state is State.READY)
        assert remote.reason == "played"
        worker.engine.stop()
        await eventually(lambda: remote.state is State.STOPPING)


async def test_a_frontend_whose_scheduler_is_lost_answers_503() -> None:
    async with a_worker() as worker, apart(worker) as (frontends, (remote,)):
        task = asyncio.create_task(remote.embed(ids(1), ANYBODY))
        await worker.work()
        frontends._links[0]._link.abort()  # type: ignore[union-attr]
        with pytest.raises(BackendFailed, match="the scheduler ended unexpectedly"):
            await task
        assert remote.state is State.FAILED


async def test_a_scrape_of_any_frontend_has_the_sum_of_all() -> None:
    async with a_worker() as worker, apart(worker, 2) as (_, (one, other)):
        for scheduler, times in ((one, 2), (other, 3)):
            for _ in range(times):
                scheduler.metrics.request(method="POST", path="/v1/embeddings", code=200, seconds=0.1)
        task = asyncio.create_task(one.embed(ids(7), ANYBODY))
        worker.answer(await worker.work())
        await task
        for scheduler in (one, other):
            text = gather.exposition(await scheduler.collect(), "")[0].decode()
            assert 'embedding_requests_total{code="200",method="POST",path="/v1/embeddings"} 5.0' in text
            assert "embedding_tokens_total 7.0" in text
            assert "embedding_workers 1.0" in text


async def test_concurrent_scrapes_share_a_collection() -> None:
    async with a_worker() as worker, apart(worker, 2) as (_, (one, other)):
        collections = 0
        families = other.metrics.families

        def counted() -> Sequence[Metric]:
            nonlocal collections
            collections += 1
            return families()

        other.metrics.families = counted  # type: ignore[method-assign]
        asked = [scheduler.collect() for scheduler in (one, other) for _ in range(5)]
        found = [gather.exposition(each, "")[0] for each in await asyncio.gather(*asked)]
        assert collections == 1
        assert all(b"embedding_workers 1.0" in text for text in found)


async def test_a_stuck_frontend_counts_with_its_last_samples(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    async with a_worker() as worker, apart(worker, 2) as (_, (one, other)):

        async def scrape() -> str:
            return gather.exposition(await one.collect(), "")[0].decode()

        for scheduler in (one, other):
            scheduler.metrics.request(method="POST", path="/v1/embeddings", code=200, seconds=0.1)
        assert TWO_REQUESTS in await scrape()
        ends = other._link
        other._link = None  # it receives messages, but does not respond
        monkeypatch.setattr(scrapes, "SCRAPE_SECONDS", 0.05)
        for _ in range(2):
            text = await scrape()
            assert TWO_REQUESTS in text
            assert "embedding_stale_frontends 1.0" in text
        assert (
            caplog.text.count("frontend 1 did not report metrics within 0.05 s: scrapes contain its previous ones") == 1
        )
        monkeypatch.undo()
        other._link = ends
        other._handle(Collect())
        await eventually(lambda: "frontend 1 reports metrics again" in caplog.text)
        assert "embedding_stale_frontends 0.0" in await scrape()


TWO_REQUESTS = 'embedding_requests_total{code="200",method="POST",path="/v1/embeddings"} 2.0'
