"""What one reconcile wants; it decides, and does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from typing import Any

from embedding_operator.core.records import EventRecord
from embedding_operator.core.snapshot import ObjectRef, Raw

__all__ = ["Budget", "Create", "Delete", "Plan", "Replace", "Scale", "Write"]


@dataclass(frozen=True)
class Create:
    """POST an object that is not there. 409 AlreadyExists: the executor reads what has the name. It is taken over when
    it carries ADOPT_ANNOTATION and no other controller, else NameTaken is raised.
    """

    object: dict[str, Any]


@dataclass(frozen=True)
class Replace:
    """PUT an object of ours over the version that the snapshot has (`metadata.resourceVersion` is in it). 409: Conflict.

    422: what is there cannot become what is wanted (an immutable field). `recreate` says that the object holds nothing
    that deleting it would lose, so it is deleted (by UID) and created anew; else Denied goes into the status.
    """

    object: dict[str, Any]
    recreate: bool = False


@dataclass(frozen=True)
class Scale:
    """Merge-patch `spec.replicas` of the Deployment with that UID and resourceVersion."""

    ref: ObjectRef
    resource_version: str
    replicas: int


@dataclass(frozen=True)
class Delete:
    """DELETE that very object (preconditions.uid), its dependents in the background. 404 and 409: already gone."""

    ref: ObjectRef


Write = Create | Replace | Scale | Delete


class Budget(StrEnum):
    """What a plan needs of the rollout budget, which bounds the changes that users did not make."""

    NONE = "None"
    HOLDS = "Holds"
    """Its pods are being replaced: it takes a slot, or keeps the one it has."""
    WAITS = "Waits"
    """It has a change to make, and waits for a slot."""


@dataclass(frozen=True)
class Plan:
    """What to do. An empty plan means that all is as it should be.

    `writes` are carried out in order; when one fails the rest is left to the next plan. `status` is the whole new
    status, None when it equals the present one; `events` are of transitions alone; `requeue_after` is set when
    something is waited for that no watch tells.
    """

    writes: tuple[Write, ...] = ()
    status: Mapping[str, Any] | None = None
    events: tuple[EventRecord, ...] = ()
    requeue_after: timedelta | None = None
    budget: Budget = Budget.NONE

    @property
    def is_empty(self) -> bool:
        return not (self.writes or self.status or self.events)


def plan_service(snapshot, settings, now) -> Plan:  # the lead writes it
    """The plan of one service."""
    raise NotImplementedError


def plan_failed(snapshot, fault, settings, now) -> Plan:  # the lead writes it
    """What to say of a service whose plan could not be made or carried out. Only a status and an Event."""
    raise NotImplementedError


def plan_storage_container(raw: Raw, now) -> Mapping[str, Any] | None:
    """The new status of a storage container; None when it equals the present one."""
    raise NotImplementedError
