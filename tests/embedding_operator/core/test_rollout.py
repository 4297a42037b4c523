"""How one revision takes over from another: a table of situations and the next step of each."""

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from embedding_operator.constants import REVISION_LABEL, SERVICE_LABEL
from embedding_operator.core.objects import LEGACY, Raw
from embedding_operator.core.pods import Container, Pod
from embedding_operator.core.records import Finding
from embedding_operator.core.rollout import Phase, Rollout, decide
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.resources.v1alpha1 import Rollout as RolloutSpec
from support.builders import NOW, a_service

OLD, NEW = "0ld00000", "4e300000"
TEMPLATE: Raw = {
    "metadata": {"annotations": {"serving.embeddings.dev/template": "digest"}},
    "spec": {"containers": [{"name": "server", "resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
}
PULL_FAILED = Finding("ImagePullFailed", "The image nowhere:1 cannot be pulled.")


def a_deployment(revision: str, *, replicas: int = 2, age: timedelta = timedelta(minutes=1)) -> dict[str, Any]:
    labels = {SERVICE_LABEL: "embedding-model"} | ({REVISION_LABEL: revision} if revision != LEGACY else {})
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": f"embedding-model-{revision}",
            "namespace": "default",
            "uid": f"uid-{revision}",
            "labels": labels,
            "creationTimestamp": (NOW - age).isoformat(),
        },
        "spec": {"replicas": replicas, "template": TEMPLATE},
    }


def a_frontend(revision: str | None) -> dict[str, Any]:
    selector = {SERVICE_LABEL: "embedding-model"} | ({REVISION_LABEL: revision} if revision else {})
    metadata = {"name": "embedding-model", "namespace": "default", "uid": "uid-service"}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"selector": selector}}


def a_pod(
    revision: str,
    number: int = 0,
    *,
    ready_for: float | None = None,
    unschedulable: str | None = None,
    scheduled_for: float | None = 60,
    server: Container | None = None,
    is_gone: bool = False,
    template: str = "digest",
    told_for: float | None = 60,
) -> Pod:
    def ago(seconds: float | None) -> datetime | None:
        return None if seconds is None else NOW - timedelta(seconds=seconds)

    return Pod(
        name=f"{revision}-{number}",
        uid=f"{revision}-{number}",
        revision=revision,
        template=template,
        node="node1",
        created_at=NOW - timedelta(minutes=1),
        ready_since=ago(ready_for),
        was_ready=ready_for is not None,
        scheduled_at=None if unschedulable else ago(scheduled_for),
        draining_since=ago(told_for),
        is_gone=is_gone,
        has_ended=False,
        unschedulable=unschedulable,
        initializer=Container(),
        server=server or Container(running=ready_for is not None),
    )


def ready_pods(revision: str, count: int = 2) -> tuple[Pod, ...]:
    return tuple(a_pod(revision, number, ready_for=30) for number in range(count))


def a_snapshot(
    *deployments: dict[str, Any],
    selects: str | None = OLD,
    pods: tuple[Pod, ...] = (),
    status: Raw | None = None,
    may_roll: bool = True,
) -> Snapshot:
    service = a_service(status=dict(status) if status else None)
    children = (*deployments, a_frontend(None if selects == LEGACY else selects)) if selects else deployments
    return Snapshot(service, children=children, pods=pods, may_roll=may_roll)


def step(
    snapshot: Snapshot,
    *,
    desired: str = NEW,
    replicas: int = 2,
    trouble: Finding | None = None,
    is_users_change: bool = True,
    **spec: Any,
) -> Rollout:
    return decide(
        desired=desired,
        replicas=replicas,
        spec=RolloutSpec.model_validate(spec),
        snapshot=snapshot,
        template=TEMPLATE,
        trouble=trouble,
        is_users_change=is_users_change,
        now=NOW,
    )


def test_the_first_revision_has_the_traffic_from_the_start() -> None:
    rollout = step(a_snapshot(selects=None))
    assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.FIRST, NEW, {NEW: 2})


def test_a_new_revision_starts_beside_the_serving_one_without_traffic() -> None:
    rollout = step(a_snapshot(a_deployment(OLD), pods=ready_pods(OLD)))
    assert (rollout.phase, rollout.serving, rollout.candidate) == (Phase.SURGE, OLD, NEW)
    assert rollout.replicas == {OLD: 2, NEW: 2}
    assert [event.reason for event in rollout.events] == ["Candidate"]


@pytest.mark.parametrize(
    ("pods", "serving"),
    [
        ((), OLD),
        ((a_pod(NEW, 0, ready_for=30), a_pod(NEW, 1)), OLD),
        ((a_pod(NEW, 0, ready_for=30), a_pod(NEW, 1, ready_for=1)), OLD),
        ((a_pod(NEW, 0, ready_for=30), a_pod(NEW, 1, ready_for=30, is_gone=True)), OLD),
        ((a_pod(NEW, 0, ready_for=30), a_pod(NEW, 1, ready_for=30, template="an older one")), OLD),
        (ready_pods(NEW), NEW),
    ],
    ids=["no pods", "one of two", "one for a second only", "one terminating", "one of an older template", "all"],
)
def test_the_service_switches_when_every_pod_of_the_candidate_has_settled(pods: tuple[Pod, ...], serving: str) -> None:
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=(*ready_pods(OLD), *pods)))
    assert rollout.serving == serving


@pytest.mark.parametrize(("told_for", "serving"), [(None, OLD), (4, OLD), (6, NEW)])
def test_before_the_switch_the_serving_pods_are_annotated_as_draining(told_for: float | None, serving: str) -> None:
    since = None if told_for is None else NOW - timedelta(seconds=told_for)
    told = tuple(replace(pod, draining_since=since) for pod in ready_pods(OLD))
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=(*told, *ready_pods(NEW))))
    assert (rollout.serving, rollout.announces_drain) == (serving, serving == OLD)


def test_a_pod_that_is_not_ready_is_annotated_too_since_it_keeps_its_connections() -> None:
    unready = a_pod(OLD, 1, server=Container(running=True), told_for=None)
    pods = (a_pod(OLD, 0, ready_for=30), unready, *ready_pods(NEW))
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=pods))
    assert (rollout.serving, rollout.announces_drain) == (OLD, True)


def test_after_the_switch_the_old_revision_is_scaled_to_zero() -> None:
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=(*ready_pods(OLD), *ready_pods(NEW))))
    assert rollout.replicas == {NEW: 2, OLD: 0}
    assert [event.reason for event in rollout.events] == ["Switched"]


def test_the_old_revision_stays_until_its_last_pod_is_gone_and_is_then_deleted() -> None:
    draining = (*ready_pods(NEW), a_pod(OLD, is_gone=True))
    snapshot = a_snapshot(a_deployment(OLD, replicas=0), a_deployment(NEW), selects=NEW, pods=draining)
    assert step(snapshot).replicas == {NEW: 2, OLD: 0}
    assert step(replace(snapshot, pods=ready_pods(NEW))).replicas == {NEW: 2}


def test_with_no_replicas_wanted_the_switch_waits_for_nothing() -> None:
    rollout = step(a_snapshot(a_deployment(OLD, replicas=0), a_deployment(NEW, replicas=0)), replicas=0)
    assert rollout.serving == NEW


def test_a_third_revision_replaces_the_candidate_and_leaves_the_serving_one() -> None:
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment("5econd00"), pods=ready_pods(OLD)))
    assert rollout.replicas == {OLD: 2, NEW: 2}


def test_going_back_to_the_serving_revision_drops_the_candidate() -> None:
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=ready_pods(OLD)), desired=OLD)
    assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.SETTLED, OLD, {OLD: 2, NEW: 0})


@pytest.mark.parametrize("count", [1, 5])
def test_the_serving_revision_is_scaled_with_the_spec_while_a_candidate_starts(count: int) -> None:
    rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=ready_pods(OLD)), replicas=count)
    assert rollout.replicas == {OLD: count, NEW: count}


class TestWhereOnlyOneRevisionFits:
    @staticmethod
    def full(age: float = 130, **more: Any) -> Snapshot:
        """A candidate that no node has room for, since `age` seconds."""
        new = a_deployment(NEW, age=timedelta(seconds=age))
        blocked = (a_pod(NEW, 0, unschedulable="0/1 nodes"), a_pod(NEW, 1, unschedulable="0/1 nodes"))
        return a_snapshot(a_deployment(OLD), new, pods=(*ready_pods(OLD), *blocked), **more)

    def test_the_serving_revision_makes_room_after_the_surge_wait(self) -> None:
        assert step(self.full(age=119)).replicas[OLD] == 2
        rollout = step(self.full(age=121))
        assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.IN_PLACE, OLD, {OLD: 0, NEW: 2})

    def test_a_progress_deadline_before_the_end_of_the_surge_wait_does_not_end_it(self) -> None:
        assert step(self.full(age=61), progressDeadlineSeconds=60).phase is Phase.SURGE
        assert step(self.full(age=121), progressDeadlineSeconds=60).phase is Phase.IN_PLACE

    def test_it_makes_room_at_once_where_it_does_not_answer_anyway(self) -> None:
        full = self.full(age=1)
        broken = (a_pod(OLD, 0), a_pod(OLD, 1), *full.pods[2:])
        assert step(replace(full, pods=broken)).replicas == {OLD: 0, NEW: 2}

    def test_it_never_makes_room_under_the_strategy_surge(self) -> None:
        assert step(self.full(age=899), strategy="Surge").replicas == {OLD: 2, NEW: 2}

    def test_it_makes_room_at_once_under_the_strategy_recreate(self) -> None:
        rollout = step(a_snapshot(a_deployment(OLD), pods=ready_pods(OLD)), strategy="Recreate")
        assert (rollout.phase, rollout.replicas) == (Phase.IN_PLACE, {OLD: 0, NEW: 2})

    def test_it_makes_no_room_for_a_candidate_that_would_not_fit_in_its_place_either(self) -> None:
        old = a_deployment(OLD)
        old["spec"] = {**old["spec"], "template": {"spec": {"containers": [{"name": "server"}]}}}
        full = self.full()
        snapshot = replace(full, children=(old, *full.children[1:]))
        assert step(snapshot).replicas == {OLD: 2, NEW: 2}

    def test_it_switches_to_the_part_of_the_candidate_that_found_room(self) -> None:
        some = (a_pod(NEW, 0, ready_for=30), a_pod(NEW, 1, unschedulable="0/1 nodes"))
        snapshot = replace(self.full(), pods=(*ready_pods(OLD), *some))
        assert step(snapshot).serving == NEW

    def test_the_service_keeps_selecting_the_old_revision_until_the_new_one_is_ready(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD, replicas=0), a_deployment(NEW), pods=(a_pod(NEW),))
        assert step(snapshot).serving == OLD
        assert step(replace(snapshot, pods=ready_pods(NEW))).serving == NEW

    def test_the_old_revision_comes_back_when_the_candidate_fails_in_its_place(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD, replicas=0), a_deployment(NEW), pods=(a_pod(NEW, scheduled_for=31),))
        rollout = step(snapshot, trouble=PULL_FAILED)
        assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.HELD, OLD, {OLD: 2})
        assert rollout.failed is not None
        assert (rollout.failed.revision, rollout.failed.reason) == (NEW, "ImagePullFailed")
        assert [(event.type, event.reason) for event in rollout.events] == [("Warning", "RolledBack")]

    def test_a_candidate_has_half_a_minute_before_it_is_rolled_back(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD, replicas=0), a_deployment(NEW), pods=(a_pod(NEW, scheduled_for=29),))
        assert step(snapshot, trouble=PULL_FAILED).phase is Phase.IN_PLACE


class TestACandidateThatNeverBecomesReady:
    overdue = a_deployment(NEW, age=timedelta(seconds=901))

    def test_is_removed_after_the_progress_deadline_while_the_old_revision_serves(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD), self.overdue, pods=(*ready_pods(OLD), a_pod(NEW)))
        rollout = step(snapshot, trouble=PULL_FAILED)
        assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.HELD, OLD, {OLD: 2})
        assert rollout.failed is not None
        assert rollout.failed.message == PULL_FAILED.message

    def test_may_take_longer_while_it_downloads_or_loads(self) -> None:
        loading = a_pod(NEW, server=Container(running=True))
        snapshot = a_snapshot(a_deployment(OLD), self.overdue, pods=(*ready_pods(OLD), loading))
        assert step(snapshot).phase is Phase.SURGE

    def test_is_not_tried_again_until_the_spec_gives_another_revision(self) -> None:
        failed = {"revision": {"serving": OLD, "failed": {"revision": NEW, "reason": "X", "message": "why"}}}
        snapshot = a_snapshot(a_deployment(OLD), pods=ready_pods(OLD), status=failed)
        assert step(snapshot).replicas == {OLD: 2}
        assert step(snapshot, desired="7hird000").replicas == {OLD: 2, "7hird000": 2}


class TestAChangeThatTheUserDidNotMake:
    def test_waits_for_the_rollout_budget(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD), pods=ready_pods(OLD), may_roll=False)
        rollout = step(snapshot, is_users_change=False)
        assert (rollout.phase, rollout.replicas) == (Phase.QUEUED, {OLD: 2})
        assert step(snapshot, is_users_change=True).phase is Phase.SURGE

    def test_goes_on_once_it_has_begun(self) -> None:
        snapshot = a_snapshot(a_deployment(OLD), a_deployment(NEW), pods=ready_pods(OLD), may_roll=False)
        assert step(snapshot, is_users_change=False).phase is Phase.SURGE


class TestAnInstallFromBeforeRevisions:
    def test_keeps_its_deployment_until_the_first_revision_is_ready(self) -> None:
        snapshot = a_snapshot(a_deployment(LEGACY), selects=LEGACY, pods=ready_pods(LEGACY))
        rollout = step(snapshot)
        assert (rollout.phase, rollout.serving, rollout.replicas) == (Phase.SURGE, LEGACY, {LEGACY: 2, NEW: 2})

    def test_then_switches_like_any_other(self) -> None:
        pods = (*ready_pods(LEGACY), *ready_pods(NEW))
        snapshot = a_snapshot(a_deployment(LEGACY), a_deployment(NEW), selects=LEGACY, pods=pods)
        assert step(snapshot).replicas == {NEW: 2, LEGACY: 0}


class TestWhatSomebodyDeleted:
    def test_a_deployment_that_is_being_deleted_does_not_serve(self) -> None:
        old = a_deployment(OLD)
        old["metadata"]["deletionTimestamp"] = NOW.isoformat()
        assert step(a_snapshot(old, pods=ready_pods(OLD))).serving == NEW

    def test_without_its_service_the_recorded_revision_serves_on(self) -> None:
        status = {"revision": {"serving": OLD}}
        rollout = step(a_snapshot(a_deployment(OLD), a_deployment(NEW), selects=None, status=status))
        assert rollout.serving == OLD

    def test_without_the_serving_deployment_the_desired_revision_has_the_traffic(self) -> None:
        rollout = step(a_snapshot(a_deployment(NEW)))
        assert (rollout.serving, rollout.replicas) == (NEW, {NEW: 2})


def test_a_rollout_is_looked_at_again_when_its_next_deadline_passes() -> None:
    new = a_deployment(NEW, age=timedelta(seconds=20))
    rollout = step(a_snapshot(a_deployment(OLD), new, pods=ready_pods(OLD)))
    assert rollout.requeue_after == timedelta(seconds=100)
