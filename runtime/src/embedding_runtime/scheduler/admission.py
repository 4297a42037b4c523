"""Who may join the line, and how long the worker may take for a batch: pure, from the rate that was measured."""

import math

__all__ = ["Rate", "may_take", "try_again_after"]

_HALF = 8192
"""Tokens after which a measurement counts half."""

_UNMEASURED = 10
"""Tokens a second that are taken for the rate before there is one: a large decoder on few cores."""

_SLOWER = 20
"""How many times as long as usual a batch may take: a text of 32,768 tokens is slow, and so is a throttled pod."""


class Rate:
    """Tokens a second while the worker computes.

    Large batches count more: the many small ones of a quiet hour say little of what full ones will give.
    """

    def __init__(self) -> None:
        self._tokens = self._seconds = 0.0

    @property
    def per_second(self) -> float | None:
        """None before the first batch."""
        return self._tokens / self._seconds if self._seconds else None

    def saw(self, tokens: int, seconds: float) -> None:
        """A batch of so many tokens took so long."""
        keep = 0.5 ** (tokens / _HALF)
        self._tokens = self._tokens * keep + tokens
        self._seconds = self._seconds * keep + max(seconds, 1e-6)


def try_again_after(ahead: int, tokens: int, *, budget: int, seconds: float, rate: float | None) -> int | None:
    """None: a request of so many tokens may join a line of `ahead` tokens. Else whole seconds, 1 or more.

    There is room for `budget` tokens, and for no more than are computed within the `seconds` that the newcomer has.
    Alone it may always join.
    """
    room = budget if rate is None else min(budget, rate * seconds)
    if not ahead or ahead + tokens <= room:
        return None
    surplus = ahead - max(0, room - tokens)
    return 1 if rate is None else max(1, math.ceil(surplus / rate))


def may_take(tokens: int, *, patience: float, rate: float | None) -> float:
    """Seconds for a batch of so many tokens, before the worker counts as stuck: `patience`, and its time many times."""
    return patience + _SLOWER * tokens / rate if rate else patience + tokens / _UNMEASURED
