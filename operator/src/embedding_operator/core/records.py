"""What the core says: findings about pods, conditions of a status, Events. Plain values, no time in them."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, Self

from embedding_operator.core.reasons import PROGRESS, WAITING
from embedding_operator.core.wording import one_sentence
from embedding_operator.errors import Problem

__all__ = ["Condition", "ConditionType", "EventRecord", "Finding", "State"]


class State(StrEnum):
    """Status of a condition."""

    TRUE = "True"
    FALSE = "False"
    UNKNOWN = "Unknown"


class ConditionType(StrEnum):
    """The conditions of an EmbeddingService, in the order in which status lists them."""

    description: str

    def __new__(cls, value: str, description: str = "") -> Self:
        """`ConditionType(value)` finds the member."""
        member = str.__new__(cls, value)
        member._value_, member.description = value, description
        return member

    READY = (
        "Ready",
        (
            "All replicas serve the current spec. Its reason and message are those of the condition "
            "that keeps it from being ready."
        ),
    )
    RECONCILING = (
        "Reconciling",
        (
            "True while the service progresses towards its spec, or waits for something that may appear by itself. "
            "kstatus reports `InProgress`."
        ),
    )
    STALLED = (
        "Stalled",
        "True when the service makes no progress until something is changed. kstatus reports `Failed`.",
    )
    ACCEPTED = ("Accepted", "The spec is valid, and everything that it refers to exists.")
    MODEL_AVAILABLE = ("ModelAvailable", "The files of the model have been downloaded.")
    AVAILABLE = (
        "Available",
        "Requests are answered, possibly still by the previous version while a change rolls out or after it failed.",
    )
    MEMORY_TOO_SMALL = (
        "MemoryTooSmall",
        (
            "A warning (`severity: Warning`), present only while it is `True`: the memory limit of the server is lower "
            "than what it needs on CPUs under load, by the size of the downloaded weights. The server starts "
            "nevertheless, but may be killed. It has no influence on `Ready`."
        ),
    )


@dataclass(frozen=True)
class Finding:
    """Why something is not as it should be: a reason of the API, and words that say what to do."""

    reason: str
    message: str

    @classmethod
    def of_problems(cls, problems: Sequence[Problem]) -> Self:
        """All problems of a spec, at least one. A reason that only a change of the spec can remove comes before those
        that may go away by themselves.
        """
        first = next((each for each in problems if each.reason not in WAITING), problems[0])
        return cls(first.reason, one_sentence(each.message for each in problems))

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
    is_warning: bool = False
    """The service works in spite of it."""


@dataclass(frozen=True)
class EventRecord:
    """An Event to record about a service."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str
