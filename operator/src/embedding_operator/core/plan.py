"""What one reconcile wants; it decides, and does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from embedding_operator.core import status
from embedding_operator.core.checks import settle
from embedding_operator.core.diagnosis import Wanted
from embedding_operator.core.diff import adopted, foreign_fields, needs_apply
from embedding_operator.core.observed import ObjectRef, Observed
from embedding_operator.core.ownership import is_controlled_by
from embedding_operator.core.reasons import PROGRESS, Reason
from embedding_operator.core.render import desired
from embedding_operator.errors import Problem, Refused
from embedding_operator.settings import Settings

__all__ = ["EventNote", "Plan", "plan", "plan_denied", "plan_storage_container", "secret_poll_interval"]

_SHORTEST_POLL, _LONGEST_POLL = timedelta(seconds=10), timedelta(minutes=5)


@dataclass(frozen=True)
class EventNote:
    """An Event to record about the service. `type` is Normal or Warning."""

    type: str
    reason: str
    message: str


@dataclass(frozen=True)
class Plan:
    """What to do. An empty plan means that all is as it should be.

    `apply` has complete objects for server-side apply, only those that differ from what is there; `replace` has live
    objects whose spec others added to, to PUT before they are applied (see `diff.adopted`); `status` is the whole new
    status, None when it equals the present one; `events` are of transitions alone; `look_again` is set when something
    is waited for that no watch tells.
    """

    replace: tuple[dict[str, Any], ...] = ()
    apply: tuple[dict[str, Any], ...] = ()
    delete: tuple[ObjectRef, ...] = ()
    status: dict[str, Any] | None = None
    events: tuple[EventNote, ...] = ()
    look_again: timedelta | None = None


def plan(raw_service: Mapping[str, Any], observed: Observed, settings: Settings, now: datetime) -> Plan:
    """The plan of one service. A spec that cannot be obeyed changes nothing but the status: what runs goes on."""
    if raw_service["metadata"].get("deletionTimestamp"):
        return Plan()  # what it owns goes by its owner references
    try:
        settled = settle(raw_service, observed)
    except Refused as refused:
        waits = any(problem.reason == Reason.SECRET_NOT_FOUND for problem in refused.problems)
        new = status.of_refused(raw_service, refused, observed, now)
        since = status.condition_of(new, "Accepted")["lastTransitionTime"]
        return _told(raw_service, new, Plan(look_again=secret_poll_interval(since, now) if waits else None))
    deployment, service = desired(settled, settings)
    new = status.of_settled(raw_service, Wanted.of(settled, deployment), observed, settings=settings, now=now)
    uid = raw_service["metadata"]["uid"]
    children = ((deployment, observed.deployments), (service, observed.services))
    changes = [_change(uid, desired_child, live) for desired_child, live in children]
    done = Plan(
        replace=tuple(live for change in changes for live in change.replace),
        apply=tuple(obj for change in changes for obj in change.apply),
        delete=(*_others(uid, deployment, observed.deployments), *_others(uid, service, observed.services)),
    )
    return _told(raw_service, new, done)


def secret_poll_interval(since: str, now: datetime) -> timedelta:
    """How long until a Secret that is missing since then is looked for again: as long as it has been missing, so the
    interval doubles. Secrets are not watched.
    """
    missing = now - datetime.fromisoformat(since)
    return min(max(missing, _SHORTEST_POLL), _LONGEST_POLL)


def plan_denied(raw_service: Mapping[str, Any], observed: Observed, why: Problem, now: datetime) -> Plan:
    """What is told of a service whose plan the cluster will not have: a name is taken, a quota, a policy."""
    new = status.of_refused(raw_service, Refused([why]), observed, now)
    return _told(raw_service, new, Plan())


def plan_storage_container(raw: Mapping[str, Any], now: datetime) -> dict[str, Any] | None:
    """The new status of a storage container; None when it equals the present one."""
    new = status.of_storage_container(raw, now)
    return None if new == raw.get("status") else new


def _told(raw: Mapping[str, Any], new: dict[str, Any], done: Plan) -> Plan:
    """The plan with what there is to tell: the status if it is new, and an Event if Ready's reason is."""
    before = raw.get("status") or {}
    if new == before:
        return done
    old, ready = (status.condition_of(each, "Ready") for each in (before, new))
    fine = ready["status"] == "True" or ready["reason"] in PROGRESS
    note = EventNote("Normal" if fine else "Warning", ready["reason"], ready["message"])
    same = (old.get("status"), old.get("reason")) == (ready["status"], ready["reason"])
    return replace(done, status=new, events=() if same else (note,))


def _change(owner: str, wanted: dict[str, Any], live: Sequence[Mapping[str, Any]]) -> Plan:
    present = next((each for each in live if _name(each) == _name(wanted)), None)
    if present is not None and is_controlled_by(owner, present) and foreign_fields(present):
        return Plan(replace=(adopted(present),), apply=(wanted,))
    return Plan(apply=(wanted,)) if needs_apply(wanted, present) else Plan()


def _others(owner: str, wanted: Mapping[str, Any], live: Sequence[Mapping[str, Any]]) -> tuple[ObjectRef, ...]:
    """The objects that the service with the uid `owner` controls and no longer needs."""
    kind, namespace = (wanted["apiVersion"], wanted["kind"]), wanted["metadata"]["namespace"]
    return tuple(
        ObjectRef(*kind, namespace, _name(each), uid=each["metadata"]["uid"])
        for each in live
        if _name(each) != _name(wanted) and is_controlled_by(owner, each)
    )


def _name(obj: Mapping[str, Any]) -> str:
    name: str = obj["metadata"]["name"]
    return name
