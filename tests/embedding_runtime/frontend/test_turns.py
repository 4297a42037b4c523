"""The fair lock for large work."""

import asyncio

from embedding_runtime.frontend.turns import Turns
from support.clock import settle


async def test_principals_take_turns_and_each_is_first_come_first_served() -> None:
    turns, order = Turns(), list[str]()

    async def work(principal: str, name: str) -> None:
        await turns.acquire(principal)
        order.append(name)
        await settle()
        turns.release()

    names = [("a", "a1"), ("a", "a2"), ("a", "a3"), ("b", "b1"), ("c", "c1"), ("b", "b2")]
    await asyncio.gather(*(work(principal, name) for principal, name in names))
    assert order == ["a1", "a2", "b1", "c1", "a3", "b2"]


async def test_a_cancelled_waiter_does_not_block_others() -> None:
    turns = Turns()
    await turns.acquire("a")
    leaves, stays = (asyncio.ensure_future(turns.acquire(principal)) for principal in "bc")
    await settle()
    leaves.cancel()
    turns.release()
    await stays
    turns.release()
    await turns.acquire("a")


async def test_a_waiter_cancelled_at_its_turn_passes_it_on() -> None:
    turns = Turns()
    await turns.acquire("a")
    leaves, stays = (asyncio.ensure_future(turns.acquire(principal)) for principal in "bc")
    await settle()
    turns.release()
    leaves.cancel()
    await asyncio.wait_for(stays, 60)
