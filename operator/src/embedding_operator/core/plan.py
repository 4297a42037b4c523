"""What one reconcile wants; it decides, and does nothing."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any

from embedding_operator.constants import TEMPLATE_ANNOTATION
from embedding_operator.core import diagnosis, status
from embedding_operator.core.build import Blueprint, Desired, build, claim_of
from embedding_operator.core.downloads import downloading, least_advanced
from embedding_operator.core.model_source import find_source
from embedding_operator.core.objects import Raw, condition_of, kind_ref, revision_of
from embedding_operator.core.questions import Question, questions
from embedding_operator.core.reasons import PROGRESS
from embedding_operator.core.records import EventRecord
from embedding_operator.core.reported import download_events
from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.core.rollout import Phase, decide, decide_unresolved
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
    way_back,
    writes,
)
from embedding_operator.errors import Fault, Refused
from embedding_operator.kinds import DEPLOYMENT
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
    status: Mapping[str, Any] | None = None
    is_status_first: bool = False
    """The status is written before anything else: it records a failed revision, which must not be tried again."""
    events: tuple[EventRecord, ...] = ()
    requeue_after: timedelta | None = None
    budget: Budget = Budget.NONE
    questions: frozenset[Question] = frozenset()
    """To be asked to pods from now on, in place of earlier ones."""

    @property
    def is_empty(self) -> bool:
        """Nothing to call the API server for."""
        return not (self.writes or self.status or self.events)


def plan_service(snapshot: Snapshot, settings: Settings, now: datetime) -> Plan:
    """The plan of one service. A spec that is refused changes nothing but the status: what runs goes on. But a serving
    revision that had made room for a candidate comes back, since nothing would make that candidate serve.

    Raises Fault: NameTaken, Terminating, RenderFailed.
    """
    if snapshot.service["metadata"].get("deletionTimestamp"):
        return Plan()  # what it owns goes by its owner references
    try:
        view, desired = _decided(snapshot, settings, now)
    except Refused as refused:
        view = View(snapshot, settings, now, problems=refused.problems)
        return _with_status(Plan(way_back(view.serving, view.replicas, snapshot)), view)
    rollout = view.rollout
    assert rollout is not None  # noqa: S101 for the type checker: _decided sets it
    planned = (*writes(desired, rollout, snapshot), *drain_notices(rollout, snapshot, now))
    budget = Budget.WAITS if view.budget_waits else _budget(view, planned)
    creates = any(isinstance(each, Create) for each in planned)
    waits = (rollout.requeue_after, _AFTER_CREATION if creates else None)
    soonest = min((each for each in waits if each is not None), default=None)
    is_held = rollout.phase is Phase.HELD
    plan = Plan(planned, is_status_first=is_held, events=rollout.events, requeue_after=soonest, budget=budget)
    return _with_status(replace(plan, questions=questions(view)), replace(view, has_writes=bool(planned)))


def plan_failed(snapshot: Snapshot, fault: Fault, settings: Settings, now: datetime) -> Plan:
    """Report that a service's plan could not be made or carried out: a status and an Event, nothing else."""
    try:
        view, _ = _decided(snapshot, settings, now)
    except Refused as refused:
        view = View(snapshot, settings, now, problems=refused.problems)
    except Exception:  # noqa: BLE001 the fault is what planning raised: it is reported without the plan's findings
        view = View(snapshot, settings, now)
    return _with_status(Plan(), replace(view, fault=fault))


def desired_objects(snapshot: Snapshot, settings: Settings, now: datetime) -> list[Desired]:
    """The objects that the service is made of, now. Raises Refused, RenderFailed."""
    return _decided(snapshot, settings, now)[1]


def plan_storage_container(read: StorageRead, now: datetime) -> Mapping[str, Any] | None:
    """The new status of a storage container; None when it equals the present one."""
    new = status.of_storage_container(read, now)
    return None if new == read.raw.get("status") else new


def _decided(snapshot: Snapshot, settings: Settings, now: datetime) -> tuple[View, list[Desired]]:
    """All that is known and decided of a service, and the objects that are wanted. Raises Refused, RenderFailed."""
    resolved = resolve_service(snapshot, settings)
    revision, template = revision_and_template(resolved, settings)
    source = find_source(resolved, revision, snapshot, settings, now)
    if not source.is_known:
        return _unresolved(View(snapshot, settings, now, resolved=resolved), template, source.job)
    if source.pin is not None:
        resolved = replace(resolved, pin=source.pin)
        revision, template = revision_and_template(resolved, settings)
    view = _diagnosed(View(snapshot, settings, now, resolved=resolved), revision, template)
    rollout = decide(
        desired=revision,
        replicas=resolved.replicas,
        spec=resolved.rollout,
        snapshot=snapshot,
        template=template,
        trouble=diagnosis.rollout_trouble(view.diagnoses.values(), view.deployment_finding),
        is_users_change=_is_users_change(snapshot),
        now=now,
    )
    desired = build(Blueprint(resolved, template, rollout, source.job, claim_of(resolved, snapshot)))
    waits = rollout.phase is Phase.QUEUED or _waits_for_budget(snapshot, desired)
    if waits:  # Deployments stay as they are: the rollout keeps them
        desired = [each for each in desired if kind_ref(each) is not DEPLOYMENT]
    return replace(view, rollout=rollout, budget_waits=waits), desired


def _unresolved(view: View, template: Raw, job: Desired | None) -> tuple[View, list[Desired]]:
    """The same while a Job is to find the version of the model. Deployments are scaled, and stay as they are else."""
    assert view.resolved is not None  # noqa: S101 for the type checker
    snapshot, resolved = view.snapshot, view.resolved
    rollout = decide_unresolved(view.replicas, snapshot, is_users_change=_is_users_change(snapshot))
    waits = rollout.phase is Phase.QUEUED
    arriving = downloading(snapshot.job_pods) if resolved.cache_claim else ()
    download = least_advanced(arriving, snapshot.progress)
    finding = None if waits else diagnosis.of_job(job, resolved, snapshot, view.now, download)
    expected = diagnosis.ExpectedPod.of(resolved, {"spec": {"template": template}})
    view = replace(view, rollout=rollout, budget_waits=waits, resolving=finding, expected=expected)
    view = replace(view, downloading=arriving, download=download)
    return view, build(Blueprint(resolved, template, rollout, None if waits else job, claim_of(resolved, snapshot)))


def _diagnosed(view: View, revision: str, template: Raw) -> View:
    """With what the pods and the Deployment of the desired revision show."""
    assert view.resolved is not None  # noqa: S101 for the type checker
    snapshot, now = view.snapshot, view.now
    expected = diagnosis.ExpectedPod.of(view.resolved, {"spec": {"template": template}})
    live = snapshot.deployments.get(revision)
    pods = [pod for pod in snapshot.live_pods(revision) if pod.template == _digest(template)]
    arriving = downloading(pods)
    download = least_advanced(arriving, snapshot.progress)
    diagnoses = {
        pod.uid: diagnosis.diagnose(pod, expected, snapshot.pod_events.get(pod.uid, ()), now, download) for pod in pods
    }
    finding = diagnosis.of_deployment(live, expected) if live else None
    view = replace(view, expected=expected, diagnoses=diagnoses, deployment_finding=finding)
    return replace(view, downloading=arriving, download=download)


def _is_users_change(snapshot: Snapshot) -> bool:
    """The spec is another one than the one that was last rolled out."""
    return bool(snapshot.service["metadata"].get("generation") != snapshot.rolled_out)


def _waits_for_budget(snapshot: Snapshot, desired: Sequence[Desired]) -> bool:
    """Pods would be replaced in place by a change that is not the user's, and the rollout budget has no room."""
    if snapshot.may_roll or _is_users_change(snapshot):
        return False
    live = snapshot.deployments
    return any(
        _digest(each["spec"]["template"]) != _digest(live[revision_of(each)]["spec"]["template"])
        for each in desired
        if kind_ref(each) is DEPLOYMENT and revision_of(each) in live
    )


def _budget(view: View, planned: Sequence[Write]) -> Budget:
    """Whether pods are being replaced: those of a service that starts are not."""
    rollout = view.rollout
    if rollout is None or view.expected is None or rollout.phase in {Phase.FIRST, Phase.HELD}:
        return Budget.NONE
    if rollout.phase is Phase.RESOLVING:  # of a change that takes a slot, or of the user's, or nothing serves yet
        takes = bool(rollout.replicas) and not _is_users_change(view.snapshot)
        return Budget.TAKES if takes else Budget.HOLDS if rollout.replicas else Budget.NONE
    is_lagging = any(
        (each.get("status") or {}).get("observedGeneration", 0) < each["metadata"].get("generation", 0)
        for each in view.snapshot.deployments.values()
    )
    is_replacing = any(pod.uid not in view.diagnoses for pod in view.snapshot.pods if not pod.has_ended)
    begins = any(isinstance(each, Create | Replace) and each.object["kind"] == DEPLOYMENT.name for each in planned)
    if begins and not _is_users_change(view.snapshot):
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


def _digest(template: Raw) -> str | None:
    digest: str | None = (template["metadata"].get("annotations") or {}).get(TEMPLATE_ANNOTATION)
    return digest
