"""What the scheduler has to know of a request beside its texts."""

from dataclasses import dataclass

__all__ = ["Principal", "RateLimit"]


@dataclass(frozen=True)
class Principal:
    """Who sends requests, for fairness and limits: an API key, else the peer's address."""

    name: str
    tokens_per_minute: int | None = None
    """None: not limited."""


@dataclass(frozen=True)
class RateLimit:
    """What is left of a principal's tokens."""

    per_minute: int
    remaining: int
    full_in: float
    """Seconds until all of `per_minute` can be used."""
