"""Properties of a request that the scheduler needs: principal, lane and rate limit."""

from dataclasses import dataclass
from enum import Flag, StrEnum, auto
from typing import Self

__all__ = ["Lane", "Output", "Principal", "RateLimit"]

INTERACTIVE_TEXTS = 8
"""A request of at most this many texts is interactive by default."""


@dataclass(frozen=True)
class Principal:
    """The sender of requests for fairness and limits: an API key, or the peer's address."""

    name: str
    tokens_per_minute: int | None = None
    """None: no limit."""


class Lane(StrEnum):
    """Lane of the queue. Interactive requests are dispatched first; bulk ones get at least a tenth of the tokens."""

    INTERACTIVE = "interactive"
    BULK = "bulk"

    @classmethod
    def by_size(cls, texts: int) -> Self:
        """The default lane of a request of this many texts."""
        return cls.INTERACTIVE if texts <= INTERACTIVE_TEXTS else cls.BULK


class Output(Flag):
    """What a request gets for each text. `|` combines several, which one forward pass computes."""

    PER_TEXT = auto()
    """What the model's head returns: a vector, a sparse vector, or the scores of a pair."""
    PER_TOKEN = auto()
    """The hidden state of each token, special tokens included, before pooling."""
    SPARSE = auto()
    """BGE-M3's lexical weights: a sparse vector beside the one of PER_TEXT."""
    COLBERT = auto()
    """BGE-M3's ColBERT vectors: one for each token but the first."""
    LOGITS = auto()
    """A cross-encoder's scores before the activation."""


@dataclass(frozen=True)
class RateLimit:
    """The state of a principal's token budget."""

    per_minute: int
    remaining: int
    full_in: float
    """Seconds until `remaining` is `per_minute`."""
