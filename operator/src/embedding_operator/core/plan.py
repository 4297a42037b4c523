"""What one reconcile wants; it decides, and does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from embedding_operator.constants import MODEL_ANNOTATION
from embedding_operator.core import status
from embedding_operator.core.build import Desired
from embedding_operator.core.decision import decide_service, is_users_change
from embedding_operator.core.objects import condition_of
from embedding_operator.core.pins import problem_of
from embedding_operator.core.questions import Question, questions
from embedding_operator.core.reasons import PROGRESS
from embedding_operator.core.records import EventRecord
from embedding_operator.core.reported import download_events
from embedding_operator.core.rollout import Phase
from embedding_operator.core.snapshot import Snapshot, StorageRead
from embedding_operator.core.view import View
from embedding_operator.core.writes import (
    Annotate,
    Create,
    Delete,
    Replace,
    Scale,
    Write,
    drain_notices,
    target_of,
    way_back,
    writes,
)
from embedding_operator.errors import Fault, Refused
from embedding_operator.kinds import DEPLOYMENT, JOB
from embedding_operator.settings import Settings

__all__ = [
    "Annotate",
    "Budget",
    "Create",
    "Delete",
    "Plan",
    "Replace",
    "Scale",
    "Write",
    "desired_objects",
    "plan_failed",
    "plan_service",
    "plan_storage_container",
]

_SOONEST, _LATEST = timedelta(seconds=30), timedelta(minutes=10)
"""Interval at which a service that is not ready is diagnosed again without a change: Events are not watched."""
_AFTER_CREATION = timedelta(seconds=1)
"""Delay of the next plan after a creation: the store has the object already, so its watch event triggers none."""
_CHECK_AGAIN = timedelta(minutes=5)
"""After the API server refused the Job of a check."""
_MARGIN = timedelta(milliseconds=100)
"""After a deadline, so that it has passed by then."""


class Budget(StrEnum):
    """What a plan needs of the rollout budget, which bounds the changes that users did not make."""

    NONE = "None"
    TAKES = "Takes"
    """It starts to replace pods because of a change that its user did not make: it takes a slot."""
    HOLDS = "Holds"
    """Its pods are being replaced: it keeps its slot if it has one. A user's own change takes none."""
    WAITS = "Waits"
    """It has a change to make, and waits for a slot."""


@dataclass(frozen=True)
class Plan:
    """What to do. An empty plan means that everything is as desired.

    `writes` are carried out in order; when one fails the rest is left to the next plan. `status` is the whole new
    status, None when it equals the present one; `events` are of transitions alone; `requeue_after` is set when
    it waits for something that no watch reports.
    """

    writes: tuple[Write, ...] = ()
    check: tuple[Write, ...] = ()
    """Of the Job that looks for a newer version of the model. They are attempted before `writes`. If one is refused,
    the service is planned again, with `Snapshot.refused_check`: a check that fails takes nothing from what serves."""
    status: Mapping[str, Any] | None = None
    is_status_first: bool = False
    """The status is written before anything else: it records a failed revision, which must not be tried again."""
    events: tuple[EventRecord, ...] = ()
    requeue_after: timedelta | None = None
    budget: Budget = Budget.NONE
    questions: frozenset[Question] = frozenset()
    """Questions to ask pods from now on, in place of earlier ones."""

    @property
    def is_empty(self) -> bool:
        """Nothing to call the API server for."""
        return not (self.writes or self.check or self.status or self.events)


def plan_service(snapshot: Snapshot, settings: Settings, now: datetime) -> Plan:
    """The plan of one service. A spec that is refused changes nothing but the status: what runs goes on. But a serving
    revision that had made room for a candidate comes back, since nothing would make that candidate serve.

    Raises Fault: NameTaken, Terminating, RenderFailed.
    """
    if snapshot.service["metadata"].get("deletionTimestamp"):
        return Plan()  # what it owns goes by its owner references
    try:
        view, desired = decide_service(snapshot, settings, now)
    except Refused as refused:
        view = View(snapshot, settings, now, problems=refused.problems)
        return _with_status(Plan(way_back(view.serving, view.replicas, snapshot)), view)
    rollout = view.rollout
    assert rollout is not None  # noqa: S101 for the type checker: _decided sets it
    planned = (*writes(desired, rollout, snapshot), *drain_notices(rollout, snapshot, now))
    check = tuple(each for each in planned if view.is_checking and target_of(each).kind == JOB.name)
    planned = tuple(each for each in planned if each not in check)
    budget = Budget.WAITS if view.budget_waits else _budget(view, planned)
    creates = any(isinstance(each, Create) for each in (*planned, *(() if snapshot.refused_check else check)))
    again = _CHECK_AGAIN if snapshot.refused_check else None
    waits = (rollout.requeue_after, _AFTER_CREATION if creates else None, again)
    soonest = min((each for each in waits if each is not None), default=None)
    is_held = rollout.phase is Phase.HELD
    events = (*rollout.events, *(_ignored_records(snapshot) if creates else ()))
    plan = Plan(planned, check, is_status_first=is_held, events=events, requeue_after=soonest, budget=budget)
    return _with_status(replace(plan, questions=questions(view)), replace(view, has_writes=bool(planned)))


def _ignored_records(snapshot: Snapshot) -> tuple[EventRecord, ...]:
    """The versions of models that are not believed, so that they are looked for again."""
    found = ((each["metadata"]["name"], problem_of(each)) for each in snapshot.deployments.values())
    return tuple(
        EventRecord("Warning", "ModelRecordIgnored", f"Annotation {MODEL_ANNOTATION} of Deployment {name}: {problem}.")
        for name, problem in found
        if problem is not None
    )


def plan_failed(snapshot: Snapshot, fault: Fault, settings: Settings, now: datetime) -> Plan:
    """Report that a service's plan could not be made or carried out: a status and an Event, nothing else."""
    try:
        view, _ = decide_service(snapshot, settings, now)
    except Refused as refused:
        view = View(snapshot, settings, now, problems=refused.problems)
    except Exception:  # noqa: BLE001 the fault is what planning raised: it is reported without the plan's findings
        view = View(snapshot, settings, now)
    return _with_status(Plan(), replace(view, fault=fault))


def desired_objects(snapshot: Snapshot, settings: Settings, now: datetime) -> list[Desired]:
    """The objects that the service is made of, now. Raises Refused, RenderFailed."""
    return decide_service(snapshot, settings, now)[1]


def plan_storage_container(read: StorageRead, now: datetime) -> Mapping[str, Any] | None:
    """The new status of a storage container; None when it equals the present one."""
    new = status.of_storage_container(read, now)
    return None if new == read.raw.get("status") else new


def _budget(view: View, planned: Sequence[Write]) -> Budget:
    """Whether pods are being replaced: those of a service that starts are not."""
    rollout = view.rollout
    if rollout is None or view.expected is None or rollout.phase in {Phase.FIRST, Phase.HELD}:
        return Budget.NONE
    if rollout.phase is Phase.RESOLVING:  # of a change that takes a slot, or of the user's, or nothing serves yet
        takes = bool(rollout.replicas) and not is_users_change(view.snapshot)
        return Budget.TAKES if takes else Budget.HOLDS if rollout.replicas else Budget.NONE
    is_lagging = any(
        (each.get("status") or {}).get("observedGeneration", 0) < each["metadata"].get("generation", 0)
        for each in view.snapshot.deployments.values()
    )
    is_replacing = any(pod.uid not in view.diagnoses for pod in view.snapshot.pods if not pod.has_ended)
    begins = any(isinstance(each, Create | Replace) and each.object["kind"] == DEPLOYMENT.name for each in planned)
    if begins and not is_users_change(view.snapshot):
        return Budget.TAKES
    is_rolling = rollout.phase in {Phase.SURGE, Phase.IN_PLACE} or is_replacing or is_lagging or begins
    return Budget.HOLDS if is_rolling else Budget.NONE


def _with_status(plan: Plan, view: View) -> Plan:
    """With the status if it is new, an Event if Ready's reason is, and the time of the next diagnosis."""
    new, before = status.of_service(view), view.snapshot.status
    ready = condition_of(new, "Ready")
    deadline = status.next_deadline(view)
    diagnosis_due = _next_diagnosis(view) if ready["status"] != "True" else None
    soonest = min((each for each in (plan.requeue_after, deadline, diagnosis_due) if each is not None), default=None)
    plan = replace(plan, requeue_after=soonest + _MARGIN if soonest is not None else None)
    if new == before:
        return plan
    old = condition_of(before, "Ready")
    is_same = (old.get("status"), old.get("reason")) == (ready["status"], ready["reason"])
    is_ready, is_progress = ready["status"] == "True", ready["reason"] in PROGRESS
    events = plan.events
    if not is_same and not (is_progress and not is_ready) and (old or not is_ready):  # progress is no news
        events = (*events, EventRecord("Normal" if is_ready else "Warning", ready["reason"], ready["message"]))
    warned = {each["type"] for each in before.get("conditions") or () if each.get("severity")}
    news = [each for each in new["conditions"] if each.get("severity") and each["type"] not in warned]
    events = (*events, *(EventRecord("Warning", each["reason"], each["message"]) for each in news))
    events = (*events, *download_events(view))
    return replace(plan, status=new, events=events)


def _next_diagnosis(view: View) -> timedelta | None:
    """Half as long as the youngest live pod has existed: soon after a change, seldom when nothing happens."""
    created = [pod.created_at for pod in (*view.snapshot.live_pods(), *view.snapshot.job_pods)]
    return min(max((view.now - max(created)) / 2, _SOONEST), _LATEST) if created else None
