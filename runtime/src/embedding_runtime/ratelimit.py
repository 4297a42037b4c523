"""Tokens per minute, as a bucket that fills steadily: pure, the time is an argument.

It holds a minute's worth. Who has been quiet for a minute may spend it at once; over any longer time nobody gets more
than the rate and that one bucketful.
"""

import math

__all__ = ["Bucket"]


class Bucket:
    """Full at first. Times are seconds of one clock that does not go back."""

    def __init__(self, per_minute: int, now: float) -> None:
        self.per_minute = per_minute
        self._level = float(per_minute)
        self._at = now

    def take(self, tokens: int, now: float) -> float:
        """0: they are taken. Else nothing is: seconds until they could be, infinite for more than it ever holds."""
        self._fill(now)
        if tokens > self.per_minute:
            return math.inf
        if tokens > self._level:
            return self._seconds(tokens - self._level)
        self._level -= tokens
        return 0.0

    def remaining(self, now: float) -> int:
        """Tokens that could be taken."""
        self._fill(now)
        return int(self._level)

    def full_in(self, now: float) -> float:
        """Seconds until all of `per_minute` could be taken."""
        self._fill(now)
        return self._seconds(self.per_minute - self._level)

    def _fill(self, now: float) -> None:
        self._level = min(self.per_minute, self._level + (now - self._at) * self.per_minute / 60)
        self._at = now

    def _seconds(self, tokens: float) -> float:
        return tokens * 60 / self.per_minute
