"""What the scheduler has to know of a request beside its texts."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Self

__all__ = ["Lane", "Principal", "RateLimit"]

INTERACTIVE_TEXTS = 8
"""A request of so many texts, or fewer, is interactive where it does not choose its lane."""


@dataclass(frozen=True)
class Principal:
    """Who sends requests, for fairness and limits: an API key, else the peer's address."""

    name: str
    tokens_per_minute: int | None = None
    """None: not limited."""


class Lane(StrEnum):
    """Which queue a request waits in: interactive ones go first, bulk ones get what is left, a tenth at least."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    @classmethod
    def by_size(cls, texts: int) -> Self:
        """The lane of a request of so many texts that does not choose one."""
        return cls.INTERACTIVE if texts <= INTERACTIVE_TEXTS else cls.BULK


@dataclass(frozen=True)
class RateLimit:
    """What is left of a principal's tokens."""

    per_minute: int
    remaining: int
    full_in: float
    """Seconds until all of `per_minute` can be used."""
