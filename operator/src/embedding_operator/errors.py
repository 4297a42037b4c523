"""What can go wrong in the operator.

Fault
├── Refused           the service cannot be planned as it is; has every problem, and goes into its status
├── BadManifests      files that commands without a cluster cannot use; has every problem, with file and object
├── CannotRunLocally  a plan that needs a cluster; the text says what to change
├── RenderFailed      a template's output is not the object it should be: a bug
├── Bug               an unexpected exception while one key was reconciled
├── NameTaken         an object of that name exists and has another owner: it is not touched
├── FieldOverridden   a webhook or another controller changes what the operator has just written
├── Terminating       an object of that name is being deleted: its deletion event starts the next attempt
├── NoCluster         neither a service account nor a kubeconfig says where the API server is
├── LeaseLost         this process does not lead (any more): nothing is written
├── WatchesEnded      kopf gave up: the process ends
└── ClusterFault      a call to the API server failed; says which, what came back, and when to try again
    ├── NotFound      404  no such object, or no such kind
    ├── Conflict      409  the object was changed concurrently: read it again and retry at once
    ├── AlreadyExists 409  to a POST: an object has that name
    ├── Expired       410  a page or a version is too old: list anew
    ├── Denied        400, 403, 413, 422  the server understood and will not
    └── Unavailable   401, 429, 5xx, no answer in time, no connection: later, as the server says
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

__all__ = [
    "AlreadyExists",
    "BadManifests",
    "Bug",
    "CannotRunLocally",
    "ClusterFault",
    "Conflict",
    "Denied",
    "Expired",
    "Fault",
    "FaultCondition",
    "FieldOverridden",
    "LeaseLost",
    "NameTaken",
    "NoCluster",
    "NotFound",
    "Problem",
    "Refused",
    "RenderFailed",
    "Terminating",
    "Unavailable",
    "WatchesEnded",
]


@dataclass(frozen=True)
class FaultCondition:
    """What a fault says in a service's status. `is_stalled`: trying again alone does not help."""

    reason: str
    message: str
    is_stalled: bool


class Fault(Exception):
    """Base of all; the text is for a person to read."""

    reason = "Failed"
    retry_after: float | None = None
    """Seconds until trying again makes sense; None: the usual backoff."""
    is_stalled = True
    """Retrying alone does not help: a person has to act."""
    tolerated = 0
    """Number of consecutive failures that are retried without a word in the status, because most pass at once."""

    def condition(self) -> FaultCondition:
        """What the status says of it."""
        return FaultCondition(self.reason, str(self), self.is_stalled)


@dataclass(frozen=True)
class Problem:
    """One thing to change: a reason of the `Accepted` condition, and words that say what."""

    reason: str
    message: str


class Refused(Fault):
    """A service that cannot be planned as it is."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)
        self.reason = problems[0].reason if problems else self.reason


class BadManifests(Fault):
    """Files that cannot be used. One line a problem."""

    def __init__(self, problems: Sequence[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


class CannotRunLocally(Fault):
    """A plan that needs a cluster."""


class RenderFailed(Fault):
    """A template's output is not the object it should be."""

    reason = "OperatorBug"


class Bug(Fault):
    """An unexpected exception. Its traceback is in the operator's log."""

    reason = "OperatorBug"

    def __init__(self, error: BaseException) -> None:
        super().__init__(
            f"The operator failed on this object: {type(error).__name__}: {str(error)[:300]}. This is a bug in the "
            "operator; its log has the traceback. Report it, or change the part of the spec that triggers it"
        )


class NameTaken(Fault):
    """An object of a name that the plan needs exists and has another owner. `taken` is its ObjectRef, `kind` that of
    the resource which needs the name.
    """

    reason = "NameTaken"
    retry_after = 10.0  # soon, in case the cause is gone; what goes on failing backs off

    def __init__(self, taken: object, kind: str, controller: Mapping[str, Any] | None = None) -> None:
        owner = f"is controlled by {controller['kind']} {controller['name']}" if controller else "has no controller"
        adopt = f', or let the {kind} take it over: annotate it with serving.embeddings.dev/adopt="true"'
        super().__init__(
            f"{taken} exists and {owner}, so it is left alone. Rename or delete it, or rename the {kind}"
            f"{'' if controller else adopt}"
        )


class FieldOverridden(Fault):
    """A webhook or another controller undoes a write. The other writes of the plan have been carried out."""

    reason = "FieldOverridden"
    retry_after = 60.0


class Terminating(Fault):
    """An object of that name is being deleted."""

    reason = "Terminating"
    retry_after = 30.0  # its deletion event comes first
    is_stalled = False
    tolerated = 1


class NoCluster(Fault):
    """No credentials for, or address of, an API server."""


class LeaseLost(Fault):
    """Another process holds the Lease, or may hold it."""

    is_stalled = False


class WatchesEnded(Fault):
    """kopf has stopped watching."""


class ClusterFault(Fault):
    """A call to the API server failed. `status` is the HTTP status, 0 where there was no answer."""

    def __init__(
        self, message: str, *, retry_after: float | None = None, reason: str | None = None, status: int = 0
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason or self.reason
        if retry_after is not None:
            self.retry_after = retry_after


class NotFound(ClusterFault):
    """No such object, or no such kind."""

    reason = "NotFound"
    is_stalled = False


class Conflict(ClusterFault):
    """The object has changed since it was read, and has to be read again."""

    reason = "Conflict"
    retry_after = 0.0
    is_stalled = False
    tolerated = 4


class AlreadyExists(Conflict):
    """An object of that name exists."""


class Expired(ClusterFault):
    """The page token or resourceVersion of the call is too old for the API server."""

    reason = "Expired"
    is_stalled = False


class Denied(ClusterFault):
    """No permission, an exhausted quota, an admission webhook or an invalid object: retrying seldom helps."""

    reason = "Denied"
    retry_after = 10.0  # soon, in case the cause is gone; what goes on failing backs off


class Unavailable(ClusterFault):
    """The API server cannot answer now."""

    reason = "ApiServerUnavailable"
    is_stalled = False
    tolerated = 1
