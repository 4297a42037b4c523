"""Admission control: whether a request may be queued, and the timeout of a batch. Pure functions of the rate."""

import math

from embedding_runtime.errors import MAX_RETRY_AFTER

__all__ = ["Rate", "batch_timeout", "retry_after"]

_HALF = 8192
"""Half-life of a measurement, in tokens."""

_UNMEASURED = 10
"""Tokens per second assumed before the first measurement: that of a large decoder on few cores."""

_SLOWER = 20
"""Times its usual duration that a batch may take: a text of 32,768 tokens is slow, and so is a throttled pod."""


class Rate:
    """Tokens per second of a worker with full batches.

    Small batches are not counted, because one short text takes as long as several.
    """

    def __init__(self, full: int = 1) -> None:
        """`full`: tokens of a full batch."""
        self.full = full
        self._tokens = self._seconds = 0.0

    @property
    def per_second(self) -> float | None:
        """None before the first measurement."""
        return self._tokens / self._seconds if self._seconds else None

    def calibrate(self, per_second: float) -> None:
        """Start with the rate measured in the warm-up."""
        self._tokens, self._seconds = float(_HALF), _HALF / per_second

    def observe(self, tokens: int, seconds: float) -> None:
        """Update the rate with the duration of a batch, if it was at least half full."""
        if 2 * tokens < self.full:
            return
        keep = 0.5 ** (tokens / _HALF)
        self._tokens = self._tokens * keep + tokens
        self._seconds = self._seconds * keep + max(seconds, 1e-6)


def retry_after(waiting: int, ahead: int, tokens: int, *, limit: int, seconds: float, rate: float | None) -> int | None:
    """None if a request of `tokens` may be queued, else the whole seconds after which a retry can succeed.

    `waiting` tokens of at most `limit` are queued or being computed, and `ahead` of them are computed before this
    request, which has `seconds` left. When nothing is queued, every request is accepted.
    """
    if not waiting:
        return None
    surplus = float(waiting - max(0, limit - tokens))
    if rate is not None and ahead:
        surplus = max(surplus, ahead - max(0.0, rate * seconds - tokens))
    if surplus <= 0:
        return None
    return 1 if rate is None else min(MAX_RETRY_AFTER, max(1, math.ceil(surplus / rate)))


def batch_timeout(tokens: int, *, stuck_after: float, rate: float | None) -> float:
    """Seconds after which the worker of a batch counts as stuck: `stuck_after` plus many times its usual duration."""
    return stuck_after + _SLOWER * tokens / rate if rate else stuck_after + tokens / _UNMEASURED
