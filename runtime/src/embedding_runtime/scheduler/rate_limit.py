"""Limits of tokens per minute, as token buckets. Pure: the time is an argument.

A bucket holds the tokens of one minute and fills steadily. After an idle minute all of them may be used at once. Over
any longer time the average cannot exceed the limit by more than one bucket.
"""

import math

from embedding_runtime.errors import ExceedsKeyLimit, RateLimited
from embedding_runtime.protocol.requests import Principal, RateLimit

__all__ = ["Bucket", "Budgets"]

KEPT = 1000
"""Maximum number of buckets before full ones are dropped."""


class Bucket:
    """A token bucket, initially full. Times are seconds of a monotonic clock."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def wait_for(self, tokens: int, now: float) -> float:
        """Seconds until the tokens are available: 0 if they are, infinite if they exceed the bucket."""
        self._fill(now)
        if tokens > self.per_minute:
            return math.inf
        return self._seconds(max(0.0, tokens - self._level))

    def take(self, tokens: int, now: float) -> float:
        """Take the tokens and return 0, or take nothing and return `wait_for`."""
        wait = self.wait_for(tokens, now)
        if not wait:
            self._level -= tokens
        return wait

    def remaining(self, now: float) -> int:
        """Tokens that are available."""
        self._fill(now)
        return int(self._level)

    def full_in(self, now: float) -> float:
        """Seconds until the bucket is full."""
        self._fill(now)
        return self._seconds(self.per_minute - self._level)

    def _fill(self, now: float) -> None:
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now

    def _seconds(self, tokens: float) -> float:
        return tokens * 60 / self.per_minute


class Budgets:
    """The buckets of principals with a limit. A key whose limit changes is a new principal."""

    def __init__(self) -> None:
        self._buckets: dict[Principal, Bucket] = {}

    def __len__(self) -> int:
        return len(self._buckets)

    def spend(self, principal: Principal, tokens: int, now: float) -> None:
        """Take tokens from the principal's bucket, or raise RateLimited or ExceedsKeyLimit and take nothing."""
        self.check(principal, tokens, now)
        bucket = self._bucket(principal, now)
        if bucket is not None:
            bucket.take(tokens, now)

    def check(self, principal: Principal, tokens: int, now: float, *, at_least: bool = False) -> None:
        """Check that the tokens are available. `at_least`: there may be more. Raises as `spend` does."""
        bucket = self._bucket(principal, now)
        if bucket is None or not (wait := bucket.wait_for(tokens, now)):
            return
        if math.isinf(wait):
            raise ExceedsKeyLimit(tokens=tokens, per_minute=bucket.per_minute, at_least=at_least)
        raise RateLimited(tokens=tokens, per_minute=bucket.per_minute, wait=wait, at_least=at_least)

    def state(self, principal: Principal, now: float) -> RateLimit | None:
        """The remaining tokens; None for a principal without a limit."""
        bucket = self._bucket(principal, now)
        return None if bucket is None else RateLimit(bucket.per_minute, bucket.remaining(now), bucket.full_in(now))

    def _bucket(self, principal: Principal, now: float) -> Bucket | None:
        if principal.tokens_per_minute is None:
            return None
        if principal not in self._buckets:
            if len(self._buckets) >= KEPT:  # a full bucket equals a new one
                self._buckets = {key: each for key, each in self._buckets.items() if each.full_in(now)}
            self._buckets[principal] = Bucket(principal.tokens_per_minute, now)
        return self._buckets[principal]
