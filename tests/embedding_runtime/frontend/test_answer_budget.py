"""The memory budget of responses, which all connections share."""

import asyncio

from embedding_runtime.frontend.answer_budget import SMALL, AnswerBudget, AnswerShare

MIB = 1 << 20


def holders(budget: AnswerBudget, *sizes: int) -> list[AnswerShare]:
    shares = [budget.share() for _ in sizes]
    assert all(share.reserve_now(size) for share, size in zip(shares, sizes, strict=True))
    return shares


async def test_a_waiting_large_response_does_not_delay_small_ones() -> None:
    budget = AnswerBudget(32 * MIB)
    first, _, _ = holders(budget, 7 * MIB, 7 * MIB, 7 * MIB)
    large = asyncio.create_task(budget.share().reserve(17 * MIB))
    await asyncio.sleep(0)
    assert budget.share().reserve_now(MIB)
    assert not large.done()
    first.close()
    await large


async def test_released_memory_goes_to_the_first_waiting_request_that_fits() -> None:
    budget = AnswerBudget(10 * MIB)
    first, second, _ = holders(budget, 3 * MIB, 3 * MIB, 3 * MIB)
    large, small = (asyncio.create_task(budget.share().reserve(size)) for size in (7 * MIB, 4 * MIB))
    await asyncio.sleep(0)
    first.close()
    await small
    assert not large.done()
    second.close()
    large.cancel()


async def test_small_responses_reserve_nothing() -> None:
    budget = AnswerBudget(1)
    assert all(budget.share().reserve_now(SMALL) for _ in range(100))
    assert budget.used == 0


async def test_a_smaller_reservation_replaces_a_larger_one_without_waiting() -> None:
    budget = AnswerBudget(10 * MIB)
    first, _ = holders(budget, 9 * MIB, 9 * MIB)
    assert first.exchange(2 * MIB)
    assert (first.held, budget.used) == (2 * MIB, 11 * MIB)


async def test_two_shares_that_need_more_do_not_wait_for_each_other() -> None:
    budget = AnswerBudget(MIB)
    shares = holders(budget, MIB, MIB)
    assert [share.exchange(2 * MIB) or share.reserve_now(2 * MIB) for share in shares] == [True, True]
