"""Charging of API keys: admitted tokens count, whether or not the request succeeds, and no others."""

import asyncio

import pytest

from embedding_runtime.errors import ExceedsKeyLimit, NotReady, Overloaded, RateLimited, TextFailed
from embedding_runtime.protocol.messages import Failed
from embedding_runtime.protocol.requests import Principal
from support.played_worker import ANYBODY, PlayedWorker, a_worker, ids

LIMITED = Principal("key", tokens_per_minute=6)
"""One more token comes back after ten seconds, which no test takes."""


def left_of(worker: PlayedWorker) -> int:
    limit = worker.engine.rate_limit(LIMITED)
    assert limit is not None
    return limit.remaining


async def test_admitted_requests_are_charged() -> None:
    async with a_worker() as worker:
        task = asyncio.create_task(worker.engine.embed(ids(1, 3), LIMITED))
        worker.answer(await worker.work())
        await task
        assert left_of(worker) == 2


async def test_requests_that_find_a_full_queue_are_not_charged() -> None:
    async with a_worker(max_waiting_tokens=5) as worker:
        before = asyncio.create_task(worker.engine.embed(ids(4), ANYBODY))
        work = await worker.work()
        with pytest.raises(Overloaded):
            await worker.engine.embed(ids(2), LIMITED)
        assert left_of(worker) == 6
        worker.answer(work)
        await before


async def test_requests_before_the_model_is_loaded_are_not_charged() -> None:
    async with a_worker(ready=False) as worker:
        with pytest.raises(NotReady):
            await worker.engine.embed(ids(2), LIMITED)
        assert left_of(worker) == 6


async def test_a_request_without_budget_is_rejected_and_not_charged() -> None:
    async with a_worker() as worker:
        with pytest.raises(
            ExceedsKeyLimit, match="the request has 7 tokens; the API key's limit is 6 tokens per minute"
        ):
            await worker.engine.embed(ids(3, 4), LIMITED)
        assert left_of(worker) == 6
        assert worker.engine.pool.tokens == 0


async def test_a_text_that_cannot_be_computed_is_charged() -> None:
    async with a_worker() as worker:
        task = asyncio.create_task(worker.engine.embed(ids(2), LIMITED))
        worker.say(Failed((await worker.work()).batch))
        with pytest.raises(TextFailed):
            await task
        assert left_of(worker) == 4


async def test_a_request_without_budget_is_rejected_before_tokenization_and_not_charged() -> None:
    async with a_worker() as worker:
        with pytest.raises(ExceedsKeyLimit, match="the request has at least 7 tokens"):
            await worker.engine.check_admission(1, 7, LIMITED, lane=None, seconds=60)
        await worker.engine.charge(LIMITED, 4)
        with pytest.raises(RateLimited, match="the request has at least 3 tokens"):
            await worker.engine.check_admission(1, 3, LIMITED, lane=None, seconds=60)
        await worker.engine.check_admission(1, 2, LIMITED, lane=None, seconds=60)
        assert left_of(worker) == 2
