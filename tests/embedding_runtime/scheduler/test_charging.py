"""What an API key pays for: the tokens that are let in, whatever becomes of them, and no others."""

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


async def test_who_is_let_in_pays_its_tokens() -> None:
    async with a_worker() as worker:
        task = asyncio.create_task(worker.engine.embed(ids(1, 3), LIMITED))
        worker.answer(await worker.work())
        await task
        assert left_of(worker) == 2


async def test_who_finds_the_line_full_pays_nothing() -> None:
    async with a_worker(max_waiting_tokens=5) as worker:
        before = asyncio.create_task(worker.engine.embed(ids(4), ANYBODY))
        work = await worker.work()
        with pytest.raises(Overloaded):
            await worker.engine.embed(ids(2), LIMITED)
        assert left_of(worker) == 6
        worker.answer(work)
        await before


async def test_who_comes_before_the_model_is_loaded_pays_nothing() -> None:
    async with a_worker(ready=False) as worker:
        with pytest.raises(NotReady):
            await worker.engine.embed(ids(2), LIMITED)
        assert left_of(worker) == 6


async def test_who_cannot_pay_is_not_let_in_and_pays_nothing() -> None:
    async with a_worker() as worker:
        with pytest.raises(
            ExceedsKeyLimit, match="the request has 7 tokens; the API key's limit is 6 tokens per minute"
        ):
            await worker.engine.embed(ids(3, 4), LIMITED)
        assert left_of(worker) == 6
        assert worker.engine.pool.tokens == 0


async def test_a_text_that_cannot_be_computed_has_its_price() -> None:
    async with a_worker() as worker:
        task = asyncio.create_task(worker.engine.embed(ids(2), LIMITED))
        worker.say(Failed((await worker.work()).batch))
        with pytest.raises(TextFailed):
            await task
        assert left_of(worker) == 4


async def test_a_request_that_could_not_pay_is_refused_before_its_texts_are_known_and_pays_nothing() -> None:
    async with a_worker() as worker:
        with pytest.raises(ExceedsKeyLimit, match="the request has at least 7 tokens"):
            await worker.engine.check_admission(1, 7, LIMITED, lane=None, seconds=60)
        await worker.engine.charge(LIMITED, 4)
        with pytest.raises(RateLimited, match="the request has at least 3 tokens"):
            await worker.engine.check_admission(1, 3, LIMITED, lane=None, seconds=60)
        await worker.engine.check_admission(1, 2, LIMITED, lane=None, seconds=60)
        assert left_of(worker) == 2
