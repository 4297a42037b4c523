"""Admission: whether a request may be queued, and how long the worker may take for a batch. Pure, from the rate."""

import math

from embedding_runtime.errors import MAX_RETRY_AFTER

__all__ = ["Rate", "batch_timeout", "retry_after"]

_HALF = 8192
"""Tokens after which a measurement counts half."""

_UNMEASURED = 10
"""Tokens a second that are taken for the rate before there is one: a large decoder on few cores."""

_SLOWER = 20
"""How many times as long as usual a batch may take: a text of 32,768 tokens is slow, and so is a throttled pod."""


class Rate:
    """Tokens a second while the worker computes batches of full size.

    A batch of one short text takes as long as one of many: it says nothing of what full ones give, and is not counted.
    """

    def __init__(self, full: int = 1) -> None:
        """`full`: tokens of a full batch."""
        self.full = full
        self._tokens = self._seconds = 0.0

    @property
    def per_second(self) -> float | None:
        """None before there is a measurement."""
        return self._tokens / self._seconds if self._seconds else None

    def calibrate(self, per_second: float) -> None:
        """Start from what was measured at warm-up."""
        self._tokens, self._seconds = float(_HALF), _HALF / per_second

    def observe(self, tokens: int, seconds: float) -> None:
        """Learn from a batch of so many tokens that took so long, where it was half full at least."""
        if 2 * tokens < self.full:
            return
        keep = 0.5 ** (tokens / _HALF)
        self._tokens = self._tokens * keep + tokens
        self._seconds = self._seconds * keep + max(seconds, 1e-6)


def retry_after(waiting: int, ahead: int, tokens: int, *, limit: int, seconds: float, rate: float | None) -> int | None:
    """None: a request of so many tokens may be queued. Else whole seconds until it is worth trying again.

    There is room for `limit` tokens, of which `waiting` are taken; and `ahead` of these are computed first, which
    leaves enough of the request's `seconds` or does not. Where nothing waits, any request may be queued.
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
    """Seconds for a batch before its worker counts as stuck: `stuck_after`, and many times its usual time."""
    return stuck_after + _SLOWER * tokens / rate if rate else stuck_after + tokens / _UNMEASURED
