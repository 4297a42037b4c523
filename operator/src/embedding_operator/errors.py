"""What can go wrong in the operator.

OperatorFault
├── Refused          a service that cannot be planned as it is; has every problem, and goes into its status
├── BadManifests     files that `render` and `local` cannot use; has every problem, with file and object
├── CannotRunLocally a plan that needs a cluster; the text says what to change
├── RenderFailed     a template's output is not the object it should be: a bug of ours
├── NameTaken        an object of that name is there, and belongs to another: it is left alone
├── NoCluster        nothing says where the API server is: neither a service account nor a kubeconfig
├── LeaseLost        another operator may be at work: nothing more is written, the process ends
├── WatchesEnded     kopf gave up: the process ends
└── ClusterFault     a call to the API server failed; says which, what came back, and when to try again
    ├── NotFound     404  no such object, or no such kind
    ├── Conflict     409  somebody else wrote first: look again at once
    ├── Denied       400, 403, 422  the server understood and will not
    └── Unavailable  401, 429, 5xx, no answer in time, no connection: later, as the server says
"""

from collections.abc import Sequence
from dataclasses import dataclass

__all__ = [
    "BadManifests",
    "CannotRunLocally",
    "ClusterFault",
    "Conflict",
    "Denied",
    "LeaseLost",
    "NameTaken",
    "NoCluster",
    "NotFound",
    "OperatorFault",
    "Problem",
    "Refused",
    "RenderFailed",
    "Unavailable",
    "WatchesEnded",
]


class OperatorFault(Exception):
    """Base of all; the text is for a person to read."""

    retry_after: float | None = None
    """Seconds until trying again makes sense; None: whoever tries backs off as usual."""


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


class NameTaken(OperatorFault):
    """An object that the plan needs is there already and belongs to another."""

    retry_after = 60.0


class NoCluster(OperatorFault):
    """Nothing says where the API server is, or who is asking."""


class LeaseLost(OperatorFault):
    """The Lease is, or may be, another's."""


class WatchesEnded(OperatorFault):
    """Nothing tells any more what changes."""


class ClusterFault(OperatorFault):
    """A call to the API server failed."""

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        if retry_after is not None:
            self.retry_after = retry_after


class NotFound(ClusterFault):
    """No such object, or no such kind."""


class Conflict(ClusterFault):
    """The object changed since it was read, or is there already: what is there now is to be read first."""

    retry_after = 0.0


class Denied(ClusterFault):
    """No permission, an exhausted quota, an admission webhook, an invalid object: it seldom heals by itself."""

    retry_after = 60.0


class Unavailable(ClusterFault):
    """The server cannot now."""
