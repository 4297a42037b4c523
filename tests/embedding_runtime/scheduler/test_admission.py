"""Admission control, as a table and as properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.errors import MAX_RETRY_AFTER
from embedding_runtime.scheduler.admission import Rate, batch_timeout, retry_after

TOKENS = st.integers(1, 10**7)
SECONDS = st.floats(0.001, 10**4)
RATES = st.none() | st.floats(1, 10**7)


@pytest.mark.parametrize(
    ("waiting", "tokens", "limit", "seconds", "rate", "after"),
    [
        (0, 10, 100, 60, None, None),
        (90, 10, 100, 60, None, None),
        (91, 10, 100, 60, None, 1),  # nothing measured yet: a guess
        (0, 101, 100, 60, None, None),  # larger than the limit, but alone
        (1, 101, 100, 60, None, 1),
        (950, 50, 10_000, 10, 100, None),  # done after ten seconds
        (951, 50, 10_000, 10, 100, 1),
        (2_000, 50, 10_000, 10, 100, 11),  # 1,050 tokens have to go first
        (2_000, 5_000, 10_000, 10, 100, 20),  # too late however early: it has to be alone
        (0, 5_000, 10_000, 10, 100, None),  # alone it may try
        (9_990, 20, 10_000, 100_000, 1, 10),
        (9_999, 20, 10_000, 100_000, 0.1, MAX_RETRY_AFTER),
    ],
)
def test_admission_depends_on_queue_deadline_and_rate(
    *, waiting: int, tokens: int, limit: int, seconds: float, rate: float | None, after: int
) -> None:
    assert retry_after(waiting, waiting, tokens, limit=limit, seconds=seconds, rate=rate) == after


def test_a_deadline_is_compared_with_the_tokens_ahead_only() -> None:
    assert retry_after(9_000, 0, 50, limit=10_000, seconds=1, rate=100) is None
    assert retry_after(9_000, 9_000, 50, limit=10_000, seconds=1, rate=100) == MAX_RETRY_AFTER


@given(TOKENS, TOKENS, SECONDS, RATES)
def test_an_empty_queue_accepts_every_request(tokens: int, limit: int, seconds: float, rate: float | None) -> None:
    assert retry_after(0, 0, tokens, limit=limit, seconds=seconds, rate=rate) is None


@given(TOKENS, TOKENS, TOKENS, SECONDS, RATES)
def test_the_queue_never_outgrows_its_limit(
    waiting: int, tokens: int, limit: int, seconds: float, rate: float | None
) -> None:
    joins = retry_after(waiting, waiting, tokens, limit=limit, seconds=seconds, rate=rate) is None
    assert not joins or waiting + tokens <= limit


@given(TOKENS, TOKENS, TOKENS, SECONDS, st.floats(1, 10**7))
def test_waiting_for_retry_after_is_enough(waiting: int, tokens: int, limit: int, seconds: float, rate: float) -> None:
    after = retry_after(waiting, waiting, tokens, limit=limit, seconds=seconds, rate=rate)
    assert after is None or 1 <= after <= MAX_RETRY_AFTER
    left = max(0, int(waiting - rate * (after or 0)))
    again = retry_after(left, left, tokens, limit=limit, seconds=seconds, rate=rate)
    assert again is None or after == MAX_RETRY_AFTER


def test_without_a_batch_there_is_no_rate() -> None:
    assert Rate().per_second is None


@given(st.lists(st.tuples(st.integers(1, 4096), st.floats(0.001, 10)), min_size=1))
def test_the_rate_is_between_the_slowest_and_the_fastest_batch(batches: list[tuple[int, float]]) -> None:
    rate = Rate()
    for tokens, seconds in batches:
        rate.observe(tokens, seconds)
    assert rate.per_second is not None
    rates = [tokens / seconds for tokens, seconds in batches]
    assert min(rates) * 0.999 <= rate.per_second <= max(rates) * 1.001


def test_ten_thousand_single_short_texts_do_not_change_the_rate() -> None:
    rate = Rate(full=2048)
    rate.calibrate(8000)
    for _ in range(10_000):
        rate.observe(13, 0.008)
    assert rate.per_second == pytest.approx(8000)


def test_the_rate_follows_full_batches_within_seconds() -> None:
    rate = Rate(full=2048)
    rate.calibrate(8000)
    for _ in range(16):
        rate.observe(2048, 0.4)
    assert rate.per_second == pytest.approx(5120, rel=0.1)


def test_a_batch_times_out_after_many_times_its_usual_duration() -> None:
    assert batch_timeout(2000, stuck_after=120, rate=1000) == 160
    assert batch_timeout(2000, stuck_after=120, rate=None) == 320
