"""Who may join the line, as a table and as rules."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.scheduler.admission import Rate, may_take, try_again_after

TOKENS = st.integers(1, 10**7)
SECONDS = st.floats(0.001, 10**4)
RATES = st.none() | st.floats(1, 10**7)


@pytest.mark.parametrize(
    ("ahead", "tokens", "budget", "seconds", "rate", "after"),
    [
        (0, 10, 100, 60, None, None),
        (90, 10, 100, 60, None, None),
        (91, 10, 100, 60, None, 1),  # nothing measured yet: a guess
        (0, 101, 100, 60, None, None),  # larger than the budget, but alone
        (1, 101, 100, 60, None, 1),
        (950, 50, 10_000, 10, 100, None),  # done after ten seconds
        (951, 50, 10_000, 10, 100, 1),
        (2_000, 50, 10_000, 10, 100, 11),  # 1,050 tokens have to go first
        (2_000, 5_000, 10_000, 10, 100, 20),  # too late however early: it has to be alone
        (0, 5_000, 10_000, 10, 100, None),  # alone it may try
        (9_990, 20, 10_000, 100_000, 1, 10),
    ],
)
def test_who_may_join(*, ahead: int, tokens: int, budget: int, seconds: float, rate: float | None, after: int) -> None:
    assert try_again_after(ahead, tokens, budget=budget, seconds=seconds, rate=rate) == after


@given(TOKENS, TOKENS, SECONDS, RATES)
def test_alone_everyone_may_join(tokens: int, budget: int, seconds: float, rate: float | None) -> None:
    assert try_again_after(0, tokens, budget=budget, seconds=seconds, rate=rate) is None


@given(TOKENS, TOKENS, TOKENS, SECONDS, RATES)
def test_the_line_never_outgrows_its_budget(
    ahead: int, tokens: int, budget: int, seconds: float, rate: float | None
) -> None:
    joins = try_again_after(ahead, tokens, budget=budget, seconds=seconds, rate=rate) is None
    assert not joins or ahead + tokens <= budget


@given(TOKENS, TOKENS, TOKENS, SECONDS, st.floats(1, 10**7))
def test_who_comes_back_when_told_to_may_join(
    ahead: int, tokens: int, budget: int, seconds: float, rate: float
) -> None:
    after = try_again_after(ahead, tokens, budget=budget, seconds=seconds, rate=rate)
    left = max(0, int(ahead - rate * (after or 0)))
    assert try_again_after(left, tokens, budget=budget, seconds=seconds, rate=rate) is None


def test_without_a_batch_there_is_no_rate() -> None:
    assert Rate().per_second is None


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0.001, 10)), min_size=1))
def test_the_rate_is_between_the_slowest_and_the_fastest_batch(batches: list[tuple[int, float]]) -> None:
    rate = Rate()
    for tokens, seconds in batches:
        rate.saw(tokens, seconds)
    assert rate.per_second is not None
    rates = [tokens / seconds for tokens, seconds in batches]
    assert min(rates) * 0.999 <= rate.per_second <= max(rates) * 1.001


def test_the_rate_follows_full_batches_within_seconds_after_a_quiet_hour_of_small_ones() -> None:
    rate = Rate()
    for _ in range(10_000):
        rate.saw(13, 0.008)
    assert rate.per_second == pytest.approx(1625)
    for _ in range(8):
        rate.saw(2048, 0.4)
    assert rate.per_second == pytest.approx(5120, rel=0.4)


def test_a_batch_may_take_many_times_its_usual_time_and_minutes_before_there_is_one() -> None:
    assert may_take(2000, patience=120, rate=1000) == 160
    assert may_take(2000, patience=120, rate=None) == 320
