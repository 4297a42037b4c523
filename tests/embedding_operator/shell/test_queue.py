"""Each key at most once in the queue, never reconciled twice at a time, fair to all, failing ones ever less often."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.queue import Priority, WorkQueue
from support.clock import ManualClock, settle


def a_queue(clock: ManualClock | None = None) -> WorkQueue[str]:
    """Keys are like `namespace/name`."""
    return WorkQueue(
        clock or ManualClock(),
        Backoff(first=1, most=60),
        group=lambda key: key.partition("/")[0],
        chance=lambda: 0.0,
    )


async def taken(queue: WorkQueue[str], number: int) -> list[str]:
    return [await queue.get() for _ in range(number)]


async def test_keys_of_a_namespace_come_out_in_the_order_they_came() -> None:
    queue = a_queue()
    for key in ("n/a", "n/b", "n/c"):
        queue.add(key)
    assert await taken(queue, 3) == ["n/a", "n/b", "n/c"]


async def test_namespaces_take_turns() -> None:
    queue = a_queue()
    for key in ("big/1", "big/2", "big/3", "small/1"):
        queue.add(key)
    assert await taken(queue, 4) == ["big/1", "small/1", "big/2", "big/3"]


async def test_a_user_s_change_goes_before_events_and_these_before_a_resync() -> None:
    queue = a_queue()
    queue.add("n/resync", Priority.RESYNC)
    queue.add("n/child", Priority.CHILD)
    queue.add("n/user", Priority.USER)
    assert await taken(queue, 3) == ["n/user", "n/child", "n/resync"]


async def test_a_key_that_becomes_urgent_while_it_waits_is_one_key() -> None:
    queue = a_queue()
    queue.add("n/a", Priority.RESYNC)
    queue.add("n/b", Priority.CHILD)
    queue.add("n/a", Priority.USER)
    assert await taken(queue, 2) == ["n/a", "n/b"]
    assert len(queue) == 0
    queue.done("n/a")
    queue.add("n/c", Priority.RESYNC)
    assert await queue.get() == "n/c"  # and not n/a once more


async def test_two_events_for_one_key_make_one_reconcile() -> None:
    queue = a_queue()
    queue.add("n/a")
    queue.add("n/a")
    assert await queue.get() == "n/a"
    queue.done("n/a")
    assert len(queue) == 0


async def test_what_happens_within_a_moment_is_one_reconcile_at_its_end() -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.add("n/a", delay=0.2)
    await clock.advance(0.1)
    queue.add("n/a", delay=0.2)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert len(queue) == 1
    queue.done(await queue.get())
    await clock.advance(10)
    assert len(queue) == 0


async def test_a_user_s_change_does_not_wait_for_that_moment() -> None:
    queue = a_queue()
    queue.add("n/a", delay=0.2)
    queue.add("n/a", Priority.USER)
    assert await queue.get() == "n/a"


async def test_a_key_that_is_reconciled_is_not_handed_out_again_before_that_is_done() -> None:
    queue = a_queue()
    queue.add("n/a")
    queue.add("n/b")
    assert await queue.get() == "n/a"
    queue.add("n/a")
    assert await queue.get() == "n/b"
    waiting = asyncio.create_task(queue.get())
    await settle()
    assert not waiting.done()
    queue.done("n/a")
    assert await waiting == "n/a"


async def test_a_key_comes_back_at_the_time_it_asked_for() -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.add_later("n/a", 10)
    await clock.advance(9.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert len(queue) == 1


@pytest.mark.parametrize("wishes", [(10, 20), (20, 10)])
async def test_the_earliest_of_two_wishes_counts(wishes: tuple[float, float]) -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    for seconds in wishes:
        queue.add_later("n/a", seconds)
    await clock.advance(10)
    assert len(queue) == 1


async def test_a_reconcile_makes_the_timer_moot() -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.add_later("n/a", 10)
    queue.add("n/a")
    queue.done(await queue.get())
    await clock.advance(60)
    assert len(queue) == 0


async def failing(queue: WorkQueue[str], times: int, retry_after: float | None = None) -> list[float]:
    return [queue.failed("n/a", retry_after) for _ in range(times)]


async def test_a_failing_key_waits_twice_as_long_each_time_up_to_the_most() -> None:
    assert await failing(a_queue(), 8) == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_success_makes_the_next_failure_the_first_again() -> None:
    queue = a_queue()
    await failing(queue, 2)
    queue.succeeded("n/a")
    assert queue.failed("n/a") == 1


async def test_a_conflict_is_tried_again_at_once_but_not_for_ever() -> None:
    assert await failing(a_queue(), 4, retry_after=0) == [0, 2, 4, 8]


async def test_a_server_that_asks_for_patience_gets_at_least_that() -> None:
    assert await failing(a_queue(), 7, retry_after=20) == [20, 20, 20, 20, 20, 32, 60]


async def test_a_failing_key_does_not_slow_another() -> None:
    queue = a_queue()
    await failing(queue, 5)
    assert queue.failed("n/b") == 1


@pytest.mark.parametrize("when", ["while it is reconciled", "afterwards"])
async def test_an_event_does_not_cut_a_backoff_short(when: str) -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.add("n/a")
    await queue.get()
    if when == "while it is reconciled":
        queue.add("n/a")
    queue.failed("n/a", retry_after=30)
    queue.done("n/a")
    if when == "afterwards":
        queue.add("n/a")
    await clock.advance(29)
    assert len(queue) == 0
    await clock.advance(1)
    assert len(queue) == 1


@pytest.mark.parametrize("when", ["while it is reconciled", "afterwards"])
async def test_a_user_s_change_does_cut_it_short(when: str) -> None:
    queue = a_queue()
    queue.add("n/a")
    await queue.get()
    if when == "while it is reconciled":
        queue.add("n/a", Priority.USER)
    queue.failed("n/a", retry_after=30)
    queue.done("n/a")
    if when == "afterwards":
        queue.add("n/a", Priority.USER)
    assert len(queue) == 1


async def test_a_key_that_is_forgotten_neither_comes_back_nor_is_remembered() -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.failed("n/a", retry_after=30)
    queue.forget("n/a")
    await clock.advance(60)
    assert len(queue) == 0
    assert queue._keys == {}


async def test_it_says_how_long_the_oldest_has_waited() -> None:
    clock = ManualClock()
    queue = a_queue(clock)
    queue.add("n/a")
    await clock.advance(7)
    queue.add("n/b")
    assert (len(queue), queue.oldest) == (2, 7)


async def test_nothing_is_remembered_of_keys_that_are_at_rest() -> None:
    queue = a_queue()
    queue.add("n/a")
    await queue.get()
    queue.succeeded("n/a")
    queue.done("n/a")
    assert queue._keys == {}


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_backoff_is_never_nothing_and_never_more_than_the_most(failures: int, chance: float) -> None:
    assert 0.5 <= Backoff(first=1, most=300).seconds(failures, chance) <= 300


steps = st.lists(
    st.tuples(
        st.sampled_from(["add", "urgent", "later", "get", "succeed", "fail", "forget", "time"]), st.sampled_from("abc")
    ),
    max_size=60,
)


@given(steps=steps)
def test_whatever_happens_a_key_runs_once_at_a_time_and_none_that_is_due_is_lost(steps: list[tuple[str, str]]) -> None:
    async def play() -> None:
        clock = ManualClock()
        queue = a_queue(clock)
        running: set[str] = set()
        owed: set[str] = set()
        for step, name in steps:
            key = f"n/{name}"
            if step in {"add", "urgent", "later"}:
                priority = Priority.USER if step == "urgent" else Priority.CHILD
                queue.add(key, priority, delay=3 if step == "later" else 0)
                owed.add(key)
            elif step == "time":
                await clock.advance(5)
            elif step == "get" and len(queue) > sum(1 for each in running if queue._keys[each].since is not None):
                got = await queue.get()
                assert got not in running
                running.add(got)
                owed.discard(got)
            elif key in running and step in {"succeed", "fail"}:
                if step == "fail":
                    queue.failed(key)
                    owed.add(key)
                else:
                    queue.succeeded(key)
                running.discard(key)
                queue.done(key)
        for key in running:
            queue.done(key)
        await clock.advance(200)
        assert owed <= {await queue.get() for _ in range(len(queue))}

    asyncio.run(play())
