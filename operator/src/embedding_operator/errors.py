"""What can go wrong in the operator; each class says whether to try again, and when.

OperatorFault
├── ClusterFault              a call to the API server failed; the message says which, and what came back
│   ├── NotFound              404  no such object, or no such kind
│   ├── Conflict              409  somebody else wrote first: look again at once
│   ├── Refused               400, 403, 422  the server understood and will not: seldom heals by itself
│   └── Unavailable           401, 429, 5xx, no answer in time, no connection: later, as the server says
├── NameTaken                 an object of that name is there, and is not ours: it is left alone
└── LeaseLost                 another operator may be at work: nothing more is written, the process ends
"""

from typing import ClassVar

__all__ = [
    "ClusterFault",
    "Conflict",
    "LeaseLost",
    "NameTaken",
    "NotFound",
    "OperatorFault",
    "Refused",
    "Unavailable",
]


class OperatorFault(Exception):
    """What the operator expects to happen now and then; its message is for the log, in one line."""

    RETRY_AFTER: ClassVar[float | None] = None

    def __init__(self, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = self.RETRY_AFTER if retry_after is None else retry_after
        """Seconds until trying again makes sense. None: by the queue's own backoff."""


class ClusterFault(OperatorFault):
    """A call to the API server failed."""


class NotFound(ClusterFault):
    """No such object, or no such kind."""


class Conflict(ClusterFault):
    """The object changed since it was read. What is there now is read again at once."""

    RETRY_AFTER = 0.0


class Refused(ClusterFault):
    """The server will not: no permission, an exhausted quota, an admission webhook, an invalid object."""

    RETRY_AFTER = 60.0


class Unavailable(ClusterFault):
    """The server cannot now."""


class NameTaken(OperatorFault):
    """An object that the plan needs is there already and belongs to somebody else."""

    RETRY_AFTER = 60.0


class LeaseLost(OperatorFault):
    """The Lease is, or may be, another's."""
