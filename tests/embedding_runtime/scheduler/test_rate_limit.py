"""The bucket of tokens per minute."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_runtime.errors import RateLimited
from embedding_runtime.protocol.requests import Principal, RateLimit
from embedding_runtime.scheduler.rate_limit import KEPT, Bucket, Budgets

RATES = st.integers(1, 10**9)
ASKED = st.lists(st.tuples(st.floats(0, 120), st.integers(1, 10**6)), max_size=60)
"""(seconds since the last one, tokens)."""


@given(RATES, ASKED)
def test_usage_never_exceeds_the_rate_plus_one_bucket(rate: int, asked: list[tuple[float, int]]) -> None:
    bucket, now, taken = Bucket(rate, 0), 0.0, 0
    for pause, tokens in asked:
        now += pause
        if not bucket.take(tokens, now):
            taken += tokens
        assert taken <= (rate + rate * now / 60) * (1 + 1e-9)


@given(RATES, ASKED, st.integers(1, 10**6))
def test_tokens_are_available_after_the_reported_wait(rate: int, asked: list[tuple[float, int]], tokens: int) -> None:
    bucket, now = Bucket(rate, 0), 0.0
    for pause, before in asked:
        now += pause
        bucket.take(before, now)
    wait = bucket.take(tokens, now)
    if math.isinf(wait):
        assert tokens > rate
    elif wait:
        assert bucket.take(tokens, now + wait * 1.001 + 1e-6) == 0


@given(RATES, ASKED)
def test_the_remaining_tokens_can_be_used_and_no_more(rate: int, asked: list[tuple[float, int]]) -> None:
    bucket, now = Bucket(rate, 0), 0.0
    for pause, tokens in asked:
        now += pause
        bucket.take(tokens, now)
    remaining = bucket.remaining(now)
    assert 0 <= remaining <= rate
    assert bucket.take(remaining + 1, now) > 0
    assert bucket.take(remaining, now) == 0


@pytest.mark.parametrize("tokens", [61, 10**9])
def test_more_than_the_bucket_is_never_available_and_costs_nothing(tokens: int) -> None:
    bucket = Bucket(60, 0)
    assert math.isinf(bucket.take(tokens, 0))
    assert bucket.remaining(0) == 60


def test_it_fills_steadily() -> None:
    bucket = Bucket(60, 0)
    assert bucket.take(60, 0) == 0
    assert bucket.take(10, 0) == pytest.approx(10)
    assert [bucket.remaining(15), bucket.full_in(15)] == pytest.approx([15, 45])
    assert [bucket.remaining(1000), bucket.full_in(1000)] == [60, 0]


def test_each_principal_has_its_own_budget_and_a_changed_limit_is_a_new_one() -> None:
    budgets, limited = Budgets(), Principal("search", tokens_per_minute=10)
    budgets.spend(limited, 10, 0)
    with pytest.raises(RateLimited):
        budgets.spend(limited, 1, 0)
    budgets.spend(Principal("batch", tokens_per_minute=10), 10, 0)
    budgets.spend(Principal("search", tokens_per_minute=20), 20, 0)
    budgets.spend(Principal("search"), 1_000_000, 0)


def test_only_full_budgets_are_dropped() -> None:
    budgets, spent = Budgets(), Principal("spent", tokens_per_minute=10)
    for number in range(KEPT - 1):
        budgets.state(Principal(str(number), tokens_per_minute=10), 0)
    budgets.spend(spent, 10, 0)
    budgets.state(Principal("one more", tokens_per_minute=10), 0)
    assert budgets.state(spent, 0) == RateLimit(10, 0, 60)
    assert len(budgets) == 2
