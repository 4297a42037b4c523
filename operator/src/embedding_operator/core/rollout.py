"""Which revision serves, which is the candidate, and how many replicas each Deployment has: one state machine.

Nothing is remembered: every decision follows from the Deployments, the Service's selector, the pods and the failed
revision in the status, so that any operator can go on at any moment.

A change that can move vectors is a new revision. It comes up beside the serving one without traffic (`SURGE`), takes
over in one write of the Service when it is ready, and the old one is scaled to zero and deleted. Where no node has room
for both, the serving revision makes room (`IN_PLACE`) and comes back when the candidate fails. A candidate that fails
is removed, recorded, and not tried again until the spec gives another revision or another pod template (`HELD`).
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum

from embedding_operator.constants import REVISION_LABEL
from embedding_operator.core.makes_room import makes_room
from embedding_operator.core.objects import LEGACY, Raw
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import EventRecord, Finding
from embedding_operator.core.rollout_state import SETTLE, RolloutState
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.resources.v1alpha1 import Rollout as RolloutSpec
from embedding_operator.resources.v1alpha1 import RolloutStrategy

__all__ = ["FailedRevision", "Phase", "Rollout", "decide", "decide_unresolved"]

NOTICE = timedelta(seconds=5)
"""How long serving pods know that they are about to drain before the Service leaves them. They close each connection
with its next answer, so that no client stays on one to the old revision: a kube-proxy would let it."""
PATIENCE_IN_PLACE = timedelta(seconds=30)
"""How long a candidate that runs in the serving revision's place may be in trouble before that one comes back."""


_UNRESOLVED = "unresolved"
"""The desired revision before it is known; the Service of a new service selects it."""


class Phase(StrEnum):
    """Where a service's rollout stands."""

    FIRST = "First"
    """Nothing has served yet: the only revision has the traffic from the start."""
    SETTLED = "Settled"
    """The desired revision serves. Its pods may still be replaced one by one, and older ones may drain."""
    SURGE = "Surge"
    """A candidate comes up beside the serving revision."""
    IN_PLACE = "InPlace"
    """The serving revision was scaled to zero to make room for the candidate."""
    HELD = "Held"
    """The desired revision has failed: the serving one goes on until the spec changes."""
    RESOLVING = "Resolving"
    """The version of the model, and so the desired revision, is not known yet. What serves goes on."""
    QUEUED = "Queued"
    """A change that the user did not make waits for its turn in the rollout budget."""


@dataclass(frozen=True)
class FailedRevision:
    """A candidate that was removed, and why; part of the service's status."""

    revision: str
    reason: str
    message: str
    template: str | None = None
    """Digest of the pod template that failed: with another one, say more memory, the revision is tried again."""
    model: str | None = None
    """The version of the model, as its Deployment recorded it."""


@dataclass(frozen=True)
class Rollout:
    """The decision. Deployments whose revision is not in `replicas` are deleted."""

    phase: Phase
    desired: str
    """The revision of the spec as it is now."""
    serving: str
    """The revision that the Service selects when the plan is executed."""
    candidate: str | None
    replicas: Mapping[str, int]
    """Replicas by revision."""
    failed: FailedRevision | None = None
    events: tuple[EventRecord, ...] = ()
    requeue_after: timedelta | None = None
    announces_drain: bool = False
    """Annotate the serving revision's pods: they are about to drain."""
    replaces_failed_pods: bool = False
    """The desired revision's failed pods are removed before their successors are ready: no node has room for both."""


def decide(
    *,
    desired: str,
    replicas: int,
    spec: RolloutSpec,
    snapshot: Snapshot,
    template: Raw,
    trouble: Finding | None,
    is_users_change: bool,
    now: datetime,
) -> Rollout:
    """`template` is the desired revision's pod template, with its digest; `trouble` is what keeps its pods from
    becoming ready and does not go away by waiting. `is_users_change`: the spec has changed since it was last planned;
    else it is the operator's settings or a storage container, whose changes wait for the rollout budget.
    """
    state = RolloutState(desired, replicas, spec, snapshot, template, trouble, now)
    decision = _decide(state, is_users_change=is_users_change)
    return replace(decision, replaces_failed_pods=state.is_blocked_by_failed_pods)


def decide_unresolved(replicas: int, snapshot: Snapshot, *, is_users_change: bool) -> Rollout:
    """The same while the version of the model is not known. A candidate of an earlier spec is dropped. The revision
    that failed is not: its commit is the one to look for, if the URI is the same.
    """
    serving, failed = _serving(snapshot, _UNRESOLVED), _failed(snapshot)
    if serving is None:
        return Rollout(Phase.RESOLVING, _UNRESOLVED, _UNRESOLVED, None, {})
    waits = not is_users_change and not snapshot.may_roll
    phase = Phase.QUEUED if waits else Phase.RESOLVING
    return Rollout(phase, _UNRESOLVED, serving, None, {serving: replicas}, failed)


def _decide(state: RolloutState, *, is_users_change: bool) -> Rollout:
    desired, replicas, snapshot = state.desired, state.replicas, state.snapshot
    candidate = state.deployments.get(desired)
    serving = _serving(snapshot, desired)
    if serving is None:
        return Rollout(Phase.FIRST, desired, desired, None, _with_draining(state, desired))
    if serving == desired:
        return _settled_rollout(state)
    failed = _failed(snapshot)
    if failed is not None and failed.revision == desired and failed.template in (None, state.digest):
        return Rollout(Phase.HELD, desired, serving, None, {serving: replicas}, failed)
    if candidate is None and not is_users_change and not snapshot.may_roll:
        return Rollout(Phase.QUEUED, desired, serving, None, {serving: replicas})
    if candidate is not None and replicas > 0 and candidate["spec"].get("replicas") == 0:
        # It still drains after it served. Its age would exceed the deadline, and its last pods would count as ready: it
        # is deleted first, and created again by the next plan.
        events = _start_of_candidate(state, serving)
        return Rollout(Phase.SURGE, desired, serving, desired, {serving: replicas}, events=events)
    return _advance(state, serving)


def _serving(snapshot: Snapshot, desired: str) -> str | None:
    """The revision with the traffic: what the Service selects, else what the status says; None: no such Deployment."""
    deployments = snapshot.deployments
    if snapshot.frontend is not None:
        selector = snapshot.frontend["spec"].get("selector") or {}
        selected: str = selector.get(REVISION_LABEL, LEGACY)
        if selected in deployments:
            return selected
    recorded = (snapshot.status.get("revision") or {}).get("serving")
    if recorded in deployments:
        return str(recorded)
    if desired in deployments or not deployments:
        return desired if desired in deployments else None
    return LEGACY if LEGACY in deployments else None


def _failed(snapshot: Snapshot) -> FailedRevision | None:
    raw = (snapshot.status.get("revision") or {}).get("failed")
    if not raw:
        return None
    return FailedRevision(raw["revision"], raw["reason"], raw["message"], raw.get("template"), raw.get("model"))


def _with_draining(state: RolloutState, serving: str) -> dict[str, int]:
    """The serving revision's replicas; the others are scaled to zero, and deleted once their pods are gone."""
    running = {pod.revision for pod in state.snapshot.pods if not pod.has_ended}
    draining = {
        revision: 0
        for revision, each in state.deployments.items()
        if revision != serving and (each["spec"].get("replicas") != 0 or revision in running)
    }
    return {serving: state.replicas, **draining}


def _settled_rollout(state: RolloutState) -> Rollout:
    return Rollout(
        Phase.SETTLED,
        state.desired,
        state.desired,
        None,
        _with_draining(state, state.desired),
        requeue_after=SETTLE if state.is_settling else None,
    )


def _advance(state: RolloutState, serving: str) -> Rollout:
    """One step from the serving revision towards the desired one."""
    wait = timedelta(seconds=state.spec.surge_wait_seconds)
    deadline = timedelta(seconds=state.spec.progress_deadline_seconds)
    is_in_place = state.replicas > 0 and state.deployments[serving]["spec"].get("replicas") == 0
    answers = any(pod.is_ready for pod in state.snapshot.live_pods(serving))  # else nothing is lost by making room
    is_patient = answers and state.age < wait
    has_no_room = state.is_unschedulable and not is_patient and state.spec.strategy is RolloutStrategy.AUTO
    is_ready = state.is_ready or (has_no_room and bool(state.settled))
    if state.began and is_ready and not state.has_going_frontend:
        return _switch(state, serving)
    if is_in_place:
        return _in_place(state, serving, deadline + wait)
    if state.spec.strategy is RolloutStrategy.RECREATE or (has_no_room and _can_make_room(state, serving)):
        why = "spec.rollout.strategy is Recreate" if not has_no_room else "no node has room for both"
        message = f"Revision {serving} is scaled to zero to make room for revision {state.desired}: {why}."
        return _step(state, serving, Phase.IN_PLACE, 0, EventRecord("Normal", "MakingRoom", message))
    may_get_room = state.is_unschedulable and is_patient and state.spec.strategy is RolloutStrategy.AUTO
    if state.began and state.is_overdue(deadline) and not (may_get_room and _can_make_room(state, serving)):
        return _give_up(state, serving, Reason.PROGRESS_DEADLINE_EXCEEDED, "was removed")
    return replace(_step(state, serving, Phase.SURGE, state.replicas, None), events=_start_of_candidate(state, serving))


def _start_of_candidate(state: RolloutState, serving: str) -> tuple[EventRecord, ...]:
    """The Event, once: while an old Deployment of that name is being deleted, several plans start the candidate."""
    if (state.snapshot.status.get("revision") or {}).get("candidate") == state.desired:
        return ()
    message = f"Revision {state.desired} starts beside revision {serving}, without traffic."
    return (EventRecord("Normal", "Candidate", message),)


def _in_place(state: RolloutState, serving: str, deadline: timedelta) -> Rollout:
    tried = [pod for pod in state.candidates if pod.scheduled_at and state.now - pod.scheduled_at >= PATIENCE_IN_PLACE]
    if (state.trouble and tried) or (state.began and state.is_overdue(deadline)):
        return _give_up(state, serving, Reason.ROLLED_BACK, "was rolled back")
    return _step(state, serving, Phase.IN_PLACE, 0, None)


def _switch(state: RolloutState, serving: str) -> Rollout:
    if not _has_notice(state, serving):
        step = _step(state, serving, Phase.SURGE, state.replicas, None)
        return replace(step, announces_drain=True, requeue_after=NOTICE)
    event = EventRecord(
        "Normal", "Switched", f"Revision {state.desired} serves; revision {serving} drains and is removed."
    )
    replicas = {state.desired: state.replicas, serving: 0}
    return Rollout(Phase.SETTLED, state.desired, state.desired, None, replicas, events=(event,))


def _has_notice(state: RolloutState, serving: str) -> bool:
    """All pods that may have connections know that they are about to drain: one that is not ready keeps those it has.
    Pods from before revisions have no such volume: they are not notified.
    """
    pods = [pod for pod in state.snapshot.live_pods(serving) if pod.server.running and serving != LEGACY]
    return all(pod.draining_since is not None and state.now - pod.draining_since >= NOTICE for pod in pods)


def _give_up(state: RolloutState, serving: str, reason: str, what: str) -> Rollout:
    why = state.trouble.message if state.trouble else _no_progress(state)
    message = f"Revision {state.desired} {what}, and revision {serving} serves: {why}"
    failed = FailedRevision(
        state.desired, state.trouble.reason if state.trouble else reason, why, state.digest, state.recorded_model
    )
    event = EventRecord("Warning", reason, message)
    return Rollout(Phase.HELD, state.desired, serving, None, {serving: state.replicas}, failed, (event,))


def _no_progress(state: RolloutState) -> str:
    words = next((pod.unschedulable for pod in state.candidates if pod.unschedulable), None)
    seconds = state.spec.progress_deadline_seconds
    return words or f"its pods were not ready within spec.rollout.progressDeadlineSeconds, {seconds} s."


def _step(state: RolloutState, serving: str, phase: Phase, replicas: int, event: EventRecord | None) -> Rollout:
    """The rollout with a candidate, and that many replicas of the serving revision."""
    return Rollout(
        phase,
        state.desired,
        serving,
        state.desired,
        {serving: replicas, state.desired: state.replicas},
        events=(event,) if event else (),
        requeue_after=_next_deadline(state, phase),
    )


def _next_deadline(state: RolloutState, phase: Phase) -> timedelta:
    """When the decision may become another one although nothing happens."""
    wait, deadline = state.spec.surge_wait_seconds, state.spec.progress_deadline_seconds
    ends = [timedelta(seconds=wait), timedelta(seconds=deadline), timedelta(seconds=wait + deadline)]
    left = [end - state.age for end in ends if end > state.age]
    if phase is Phase.IN_PLACE:
        left.append(PATIENCE_IN_PLACE)
    if state.is_settling:
        left.append(SETTLE)
    return min(left, default=timedelta(minutes=1))


def _can_make_room(state: RolloutState, serving: str) -> bool:
    return makes_room(state.deployments[serving]["spec"]["template"], state.template)
