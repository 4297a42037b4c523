"""Who is given up when bodies fill the memory for them."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.errors import Overloaded
from embedding_runtime.frontend.body_pool import PROGRESS, BodyPool, HeldBody, Stage
from support.clock import settle

LIMIT = 8 * PROGRESS


def a_body(pool: BodyPool, principal: str, size: int, *, at: float = 0, complete: bool = False) -> HeldBody:
    body = pool.body(principal, at)
    if complete:
        body.complete()
    body.add(size, at)
    return body


def given_up(*bodies: HeldBody) -> list[bool]:
    return [body.stage is Stage.GIVEN_UP for body in bodies]


def test_where_there_is_room_nothing_is_given_up() -> None:
    pool = BodyPool(LIMIT)
    bodies = [a_body(pool, "a", PROGRESS) for _ in range(8)]
    assert given_up(*bodies) == [False] * 8
    assert pool.used == LIMIT


def test_the_upload_that_has_stalled_for_longest_makes_room() -> None:
    pool = BodyPool(LIMIT)
    stalled = [a_body(pool, "a", 2 * PROGRESS, at=at) for at in (1, 0, 2, 3)]
    new = a_body(pool, "a", PROGRESS, at=4)
    assert given_up(*stalled, new) == [False, True, False, False, False]


def test_a_byte_now_and_then_is_no_progress() -> None:
    pool = BodyPool(LIMIT)
    trickling, uploading = a_body(pool, "a", 4 * PROGRESS, at=0), a_body(pool, "a", 3 * PROGRESS, at=1)
    trickling.add(1, 2)
    a_body(pool, "a", PROGRESS, at=3)
    assert given_up(trickling, uploading) == [True, False]


def test_the_principal_that_holds_most_makes_room_for_another_one() -> None:
    pool = BodyPool(LIMIT)
    small = a_body(pool, "b", PROGRESS, at=0)
    large = [a_body(pool, "a", PROGRESS, at=1) for _ in range(7)]
    small.add(PROGRESS, 2)
    assert given_up(small, *large).count(True) == 1
    assert small.stage is Stage.COMING


def test_a_principal_whose_bodies_wait_for_their_turn_makes_room_for_another_one_the_last_first() -> None:
    pool = BodyPool(LIMIT)
    waiting = [a_body(pool, "a", PROGRESS, at=at, complete=True) for at in range(8)]
    other = a_body(pool, "b", PROGRESS, at=9)
    assert given_up(*waiting, other) == [False] * 7 + [True, False]


def test_a_body_that_is_being_parsed_is_not_given_up() -> None:
    pool = BodyPool(LIMIT)
    parsed = a_body(pool, "a", LIMIT)
    parsed.stage = Stage.IN_USE
    new = a_body(pool, "b", 1)
    assert given_up(parsed, new) == [False, True]


def test_whoever_has_the_bytes_is_told_to_drop_them() -> None:
    pool = BodyPool(LIMIT)
    dropped: list[str] = []
    body = a_body(pool, "a", LIMIT)
    body.when_given_up = lambda: dropped.append("a")
    a_body(pool, "b", 1, at=1)
    assert (dropped, pool.used) == (["a"], 1)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3 * PROGRESS), st.booleans()), max_size=30))
def test_no_more_than_the_limit_is_ever_held(sizes: list[tuple[str, int, bool]]) -> None:
    pool = BodyPool(LIMIT)
    bodies = []
    for at, (principal, size, complete) in enumerate(sizes):
        bodies.append(a_body(pool, principal, size, at=at, complete=complete))
        assert pool.used == sum(body.held for body in bodies) <= LIMIT
    for body in bodies:
        body.release()
        body.release()
    assert pool.used == 0


async def test_a_body_that_waits_is_counted_with_what_was_made_of_it_and_may_be_given_up() -> None:
    pool = BodyPool(LIMIT)
    waiting = a_body(pool, "a", PROGRESS, complete=True)

    async def wait() -> None:
        async with waiting.waiting(6 * PROGRESS):
            await asyncio.Event().wait()

    request = asyncio.create_task(wait())
    await settle()
    assert pool.used == 7 * PROGRESS
    a_body(pool, "b", 2 * PROGRESS, at=1)
    with pytest.raises(Overloaded):
        await request
    assert pool.used == 2 * PROGRESS


async def test_a_body_that_has_waited_is_not_given_up_any_more() -> None:
    pool = BodyPool(LIMIT)
    waited = a_body(pool, "a", PROGRESS, complete=True)
    async with waited.waiting(PROGRESS):
        pass
    assert pool.used == PROGRESS
    other = a_body(pool, "b", 8 * PROGRESS, at=1)
    assert given_up(waited, other) == [False, True]
