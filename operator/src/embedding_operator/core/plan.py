"""What one reconcile wants; it decides, and does nothing."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from embedding_operator.core.observed import ObjectRef, Observed
from embedding_operator.settings import Settings

__all__ = ["EventNote", "Plan", "plan", "plan_storage_container"]


@dataclass(frozen=True)
class EventNote:
    """An Event to record about the service. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do. An empty plan means that all is as it should be.

    `apply` has complete objects for server-side apply, only those that differ from what is there; `status` is the whole
    new status, None when it equals the present one; `events` are of transitions alone; `look_again` is set when
    something is waited for that no watch tells.
    """

    apply: tuple[dict[str, Any], ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[EventNote, ...] = ()
    look_again: timedelta | None = None


def plan(raw_service: Mapping[str, Any], observed: Observed, settings: Settings, now: datetime) -> Plan:
    """The plan of one service. A spec that cannot be obeyed changes nothing but the status."""
    raise NotImplementedError


def plan_storage_container(raw: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The new status of a storage container; None when it equals the present one."""
    raise NotImplementedError
