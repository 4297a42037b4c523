"""What the core says: findings about pods, conditions of a status, Events. Plain values, no time in them."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Literal

from embedding_operator.core.reasons import PROGRESS

__all__ = ["Condition", "EventRecord", "Finding", "State"]


class State(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


@dataclass(frozen=True)
class Finding:
    """Why something is not as it should be: a reason of the API, and words that say what to do."""

    reason: str
    message: str

    @property
    def is_trouble(self) -> bool:
        """It does not go away by waiting."""
        return self.reason not in PROGRESS


@dataclass(frozen=True)
class Condition:
    """A condition of a status, before it is known since when it holds."""

    type: str
    status: State
    reason: str
    message: str


@dataclass(frozen=True)
class EventRecord:
    """An Event to record about a service."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
