"""What an API key pays for: the tokens that are let in, whatever becomes of them, and no others."""

import asyncio
import time

import pytest

from embedding_runtime import calls
from embedding_runtime.calls import Call
from embedding_runtime.errors import NotReady, Overloaded, RateLimited, TextFailed
from embedding_runtime.ratelimit import Bucket
from embedding_runtime.wire import Failed
from support.played_worker import a_worker, ids


def begin_limited_call() -> Call:
    """From here on the test asks with a key of 6 tokens a minute: no test takes the ten seconds that one more takes."""
    call = Call("id", bucket=Bucket(6, time.monotonic()))
    calls.begin(call)
    return call


def left_of(call: Call) -> int:
    return int(call.headers["x-ratelimit-remaining-tokens"])


async def test_who_is_let_in_pays_its_tokens() -> None:
    async with a_worker() as worker:
        call = begin_limited_call()
        task = asyncio.create_task(worker.engine.embed(ids(1, 3)))
        worker.answer(await worker.work())
        await task
        assert left_of(call) == 2


async def test_who_finds_the_line_full_pays_nothing() -> None:
    async with a_worker(max_waiting_tokens=5) as worker:
        before = asyncio.create_task(worker.engine.embed(ids(4)))
        work = await worker.work()
        call = begin_limited_call()
        with pytest.raises(Overloaded):
            await worker.engine.embed(ids(2))
        assert left_of(call) == 6
        worker.answer(work)
        await before


async def test_who_comes_before_the_model_is_loaded_pays_nothing() -> None:
    async with a_worker(ready=False) as worker:
        call = begin_limited_call()
        with pytest.raises(NotReady):
            await worker.engine.embed(ids(2))
        assert left_of(call) == 6


async def test_who_cannot_pay_is_not_let_in_and_pays_nothing() -> None:
    async with a_worker() as worker:
        call = begin_limited_call()
        with pytest.raises(RateLimited, match="7 tokens asked for, with an API key of 6 tokens a minute"):
            await worker.engine.embed(ids(3, 4))
        assert left_of(call) == 6
        assert worker.engine.tokens_under_way == 0


async def test_a_text_that_cannot_be_computed_has_its_price() -> None:
    async with a_worker() as worker:
        call = begin_limited_call()
        task = asyncio.create_task(worker.engine.embed(ids(2)))
        worker.say(Failed((await worker.work()).batch))
        with pytest.raises(TextFailed):
            await task
        assert left_of(call) == 4
