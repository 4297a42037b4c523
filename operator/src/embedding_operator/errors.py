"""What can go wrong in the operator's pure half and its commands.

OperatorFault
├── Refused          a service that cannot be planned as it is; has every problem, and goes into its status
├── BadManifests     files that `render` and `local` cannot use; has every problem, with file and object
├── CannotRunLocally a plan that needs a cluster; the text says what to change
└── RenderFailed     a template's output is not the object it should be: a bug of ours
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["BadManifests", "CannotRunLocally", "OperatorFault", "Problem", "Refused", "RenderFailed"]


class OperatorFault(Exception):
    """Base of all; the text is for a person to read."""


@dataclass(frozen=True)
class Problem:
    """One thing to change: a reason of the `Accepted` condition, and words that say what."""

    reason: str
    message: str


class Refused(OperatorFault):
    """A service that cannot be planned as it is."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class BadManifests(OperatorFault):
    """Files that cannot be used. One line a problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class CannotRunLocally(OperatorFault):
    """A plan that needs a cluster."""


class RenderFailed(OperatorFault):
    """A template's output is not the object it should be."""
