"""Each key at most once in line, none worked on twice at a time, failing ones less and less often."""

from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.shell.queue import Backoff, WorkQueue
from support.clock import HandClock


def a_queue(clock: HandClock | None = None) -> WorkQueue[str]:
    return WorkQueue(clock or HandClock(), Backoff(first=1, most=60), chance=lambda: 0.0)


async def test_keys_come_out_in_the_order_they_came() -> None:
    queue = a_queue()
    for key in "abc":
        queue.add(key)
    assert [await queue.get() for _ in "abc"] == ["a", "b", "c"]


async def test_two_events_for_one_key_make_one_reconcile() -> None:
    queue = a_queue()
    queue.add("a")
    queue.add("a")
    assert await queue.get() == "a"
    queue.done("a")
    assert len(queue) == 0


async def test_a_key_that_is_worked_on_is_not_handed_out_again() -> None:
    queue = a_queue()
    queue.add("a")
    queue.add("b")
    assert await queue.get() == "a"
    queue.add("a")
    assert await queue.get() == "b"
    assert queue._line.empty()
    queue.done("a")
    assert await queue.get() == "a"


async def test_a_key_comes_back_at_the_time_it_asked_for() -> None:
    clock = HandClock()
    queue = a_queue(clock)
    queue.add_later("a", 10)
    await clock.advance(9.9)
    assert len(queue) == 0
    await clock.advance(0.1)
    assert len(queue) == 1


async def test_a_later_wish_replaces_an_earlier_one() -> None:
    clock = HandClock()
    queue = a_queue(clock)
    queue.add_later("a", 10)
    queue.add_later("a", 20)
    await clock.advance(15)
    assert len(queue) == 0


async def test_work_on_a_key_makes_its_timer_moot() -> None:
    clock = HandClock()
    queue = a_queue(clock)
    queue.add_later("a", 10)
    queue.add("a")
    queue.done(await queue.get())
    await clock.advance(60)
    assert len(queue) == 0


async def test_a_failing_key_waits_twice_as_long_each_time_up_to_the_most() -> None:
    queue = a_queue()
    assert [queue.failed("a") for _ in range(8)] == [1, 2, 4, 8, 16, 32, 60, 60]


async def test_a_success_makes_the_next_failure_the_first_again() -> None:
    queue = a_queue()
    queue.failed("a")
    queue.failed("a")
    queue.succeeded("a")
    assert queue.failed("a") == 1


async def test_a_conflict_is_looked_at_again_at_once_but_not_for_ever() -> None:
    queue = a_queue()
    assert [queue.failed("a", retry_after=0) for _ in range(4)] == [0, 2, 4, 8]


async def test_a_server_that_asks_for_patience_gets_at_least_that() -> None:
    queue = a_queue()
    assert [queue.failed("a", retry_after=20) for _ in range(7)] == [20, 20, 20, 20, 20, 32, 60]


async def test_a_failing_key_does_not_slow_another() -> None:
    queue = a_queue()
    for _ in range(5):
        queue.failed("a")
    assert queue.failed("b") == 1


@given(failures=st.integers(1, 10_000), chance=st.floats(0, 1, exclude_max=True))
def test_a_backoff_is_never_nothing_and_never_more_than_the_most(failures: int, chance: float) -> None:
    assert 0.5 <= Backoff(first=1, most=300).seconds(failures, chance) <= 300
