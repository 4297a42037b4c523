"""How a service is: Ready, Reconciling and Stalled by kstatus's rules, and what the other conditions add."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core.conditions import calculate
from embedding_operator.core.records import Condition, ConditionType, State
from embedding_operator.core.rollout import FailedRevision, Phase
from embedding_operator.core.view import View
from embedding_operator.errors import Denied, Problem, Unavailable
from support.builders import NOW, SETTINGS, Raw, a_service, a_snapshot, ended, running, waiting
from support.views import DOWNLOADED, a_view, ago, started

READY: Raw = {"ready": True}
DOWNLOADING: Raw = {"initializer": running()}
LOADING: Raw = {"initializer": DOWNLOADED, "server": running()}
CRASHED: Raw = {"initializer": DOWNLOADED, "server": ended(3, "RuntimeError: no such pooling")}
OUT_OF_MEMORY: Raw = {"initializer": DOWNLOADED, "server": ended(137, reason="OOMKilled")}
NOT_FOUND: Raw = {"initializer": ended(1, "ModelNotFound: hf://a/b is not on the hub")}
DEADLINE = 900
LATE = DEADLINE + 1
TWO = a_service(replicas=2)
DOWNLOADED_90_MB = '{"weights_bytes": 90868376, "revision": "c9745ed1", "new": 1}'
SMALL = a_service(resources={"limits": {"memory": "512Mi"}})
STILL_SERVING = "The previous version is still serving."


def short(view: View) -> dict[str, str]:
    return {each.type: f"{each.status}/{each.reason}" for each in calculate(view)}


def condition(view: View, kind: str = "Ready") -> Condition:
    return next(each for each in calculate(view) if each.type == kind)


def kstatus(view: View) -> str:
    """What `kstatus.Compute` says of these conditions."""
    states = {each.type: each.status for each in calculate(view)}
    if states["Stalled"] == "True":
        return "Failed"
    return "InProgress" if states["Reconciling"] == "True" or states["Ready"] != "True" else "Current"


def since(service: Raw, seconds: float) -> Raw:
    """The service, not ready for so long."""
    status = {"conditions": [{"type": "Ready", "status": "False", "lastTransitionTime": ago(seconds)}]}
    return {**service, "status": status}


def test_the_conditions_are_those_that_are_documented_in_their_order() -> None:
    found = calculate(a_view({**READY, "initializer": ended(0, DOWNLOADED_90_MB)}, service=SMALL))
    assert [each.type for each in found] == list(ConditionType)


def test_a_service_is_ready_when_its_pods_are_and_nothing_is_left_to_do() -> None:
    assert short(a_view(READY)) == {
        "Ready": "True/Ready",
        "Reconciling": "False/Reconciled",
        "Stalled": "False/Reconciled",
        "Accepted": "True/Accepted",
        "ModelAvailable": "True/Downloaded",
        "Available": "True/Available",
    }


@pytest.mark.parametrize(
    ("pods", "ready", "model"),
    [
        ([], "Pending", "Pending"),
        ([{"age": 5}], "Pending", "Pending"),
        ([DOWNLOADING], "Downloading", "Downloading"),
        ([LOADING], "Loading", None),
    ],
)
def test_a_first_pod_on_its_way_is_progress(pods: list[Raw], ready: str, model: str | None) -> None:
    assert short(a_view(*pods, phase=Phase.FIRST)) == {
        "Ready": f"False/{ready}",
        "Reconciling": f"True/{ready}",
        "Stalled": "False/Progressing",
        "Accepted": "True/Accepted",
        "ModelAvailable": f"False/{model}" if model else "True/Downloaded",
        "Available": f"False/{ready}",
    }


# What is not ready although pods answer, or was wrongly called ready.
@pytest.mark.parametrize(
    ("view", "reason"),
    [
        pytest.param(a_view(READY, has_writes=True), "RollingOut", id="writes-are-due"),
        pytest.param(a_view(READY, has_frontend=False), "RollingOut", id="no-service"),
        pytest.param(a_view({**READY, "ready_changed": 1}), "RollingOut", id="ready-for-a-second"),
        pytest.param(a_view(READY, deployment={"observedGeneration": 0}), "RollingOut", id="deployment-not-observed"),
        pytest.param(a_view(READY, outdated=[READY]), "RollingOut", id="a-pod-of-an-older-template"),
        pytest.param(a_view(READY, previous=[READY]), "RollingOut", id="a-pod-of-the-previous-revision"),
        pytest.param(a_view(READY, previous=[{**READY, "deleting": True}]), "RollingOut", id="a-revision-drains"),
        pytest.param(a_view(READY, READY, READY), "RollingOut", id="three-of-one"),
        pytest.param(a_view(READY, service=TWO), "Pending", id="one-of-two-created"),
        pytest.param(a_view(READY, DOWNLOADING, service=TWO), "Downloading", id="one-of-two-downloads"),
        pytest.param(a_view(READY, fault=Unavailable("GET pods: no answer within 10 s")), "Retrying", id="api-timeout"),
    ],
)
def test_a_service_is_in_progress_while_anything_is_not_as_planned(view: View, reason: str) -> None:
    found = short(view)
    assert (found["Ready"], found["Reconciling"], kstatus(view)) == (f"False/{reason}", f"True/{reason}", "InProgress")


def test_surplus_pods_are_never_counted_against_the_replicas() -> None:
    assert condition(a_view(READY, READY, READY)).message == "spec.replicas is 1: surplus pods are being removed."


def test_a_pod_on_its_way_out_does_not_keep_a_service_from_being_ready() -> None:
    assert condition(a_view(READY, outdated=[{**READY, "deleting": True}])).status == "True"


def test_a_stale_refusal_of_pods_that_are_there_is_ignored() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    assert condition(a_view(READY, deployment={"conditions": [failure]})).status == "True"


def test_a_refusal_of_pods_is_reported() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small, requested: pods=1"}
    view = a_view(phase=Phase.FIRST, deployment={"conditions": [failure], "replicas": 0})
    assert (condition(view).reason, kstatus(view)) == ("PodsRefused", "InProgress")


def test_a_service_of_no_replicas_is_ready_and_answers_nothing() -> None:
    view = a_view(service=a_service(replicas=0))
    assert short(view) == {
        "Ready": "True/ScaledToZero",
        "Reconciling": "False/Reconciled",
        "Stalled": "False/Reconciled",
        "Accepted": "True/Accepted",
        "ModelAvailable": "Unknown/ScaledToZero",
        "Available": "False/ScaledToZero",
    }
    assert condition(view).message == "Nothing runs because spec.replicas is 0."


def test_pods_that_are_still_there_keep_a_service_of_no_replicas_in_progress() -> None:
    assert kstatus(a_view(CRASHED, service=a_service(replicas=0))) == "InProgress"


@pytest.mark.parametrize(
    ("pod", "reason"),
    [
        (CRASHED, "RuntimeFailed"),
        (NOT_FOUND, "ModelNotFound"),
        ({"unschedulable": "0/1 nodes are available: 1 Insufficient cpu."}, "Unschedulable"),
        ({"initializer": DOWNLOADED, "server": started(seconds_ago=100)}, "NotReady"),
    ],
)
def test_trouble_is_in_progress_until_the_deadline_and_stalled_after_it(pod: Raw, reason: str) -> None:
    young = a_view(pod)
    assert (condition(young).reason, kstatus(young)) == (reason, "InProgress")
    old = a_view({"age": LATE, **pod}, service=since(a_service(), LATE))
    old = replace(old, snapshot=replace(old.snapshot, children=aged(old)))
    assert (condition(old).reason, kstatus(old)) == ("ProgressDeadlineExceeded", "Failed")
    assert condition(old).message == condition(young).message


def aged(view: View) -> tuple[Any, ...]:
    """The children, with Deployments that are older than any deadline."""
    old = NOW - timedelta(days=1)
    return tuple(
        {**each, "metadata": {**each["metadata"], "creationTimestamp": old.isoformat()}}
        for each in view.snapshot.children
    )


def test_a_pod_that_never_starts_stalls_after_the_deadline_with_what_is_known() -> None:
    view = a_view({"age": LATE, "initializer": waiting("PodInitializing")}, service=since(a_service(), LATE))
    view = replace(view, snapshot=replace(view.snapshot, children=aged(view)))
    assert kstatus(view) == "Failed"
    assert "has not started the containers" in condition(view).message


def test_pods_that_are_never_created_stall_after_the_deadline() -> None:
    view = a_view(service=since(TWO, LATE))
    view = replace(view, snapshot=replace(view.snapshot, children=aged(view)))
    assert (kstatus(view), condition(view).message) == ("Failed", "0 of 2 pods created.")


@pytest.mark.parametrize("pod", [DOWNLOADING, LOADING])
def test_a_long_download_or_load_never_stalls(pod: Raw) -> None:
    late = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "timed out"}
    service = since(a_service(), LATE)
    view = a_view({"age": LATE, **pod}, service=service, deployment={"conditions": [late]})
    view = replace(view, snapshot=replace(view.snapshot, children=aged(view)))
    assert kstatus(view) == "InProgress"


def test_the_deadline_counts_from_the_loss_of_readiness() -> None:
    lost = {"initializer": DOWNLOADED, "server": started(seconds_ago=86000), "age": 86400, "ready_changed": 30}
    view = a_view(lost, service=since(a_service(), 30))
    view = replace(view, snapshot=replace(view.snapshot, children=aged(view)))
    assert (condition(view).reason, kstatus(view)) == ("NotReady", "InProgress")


def test_one_pod_in_trouble_of_two_is_reported_while_the_other_answers() -> None:
    found = short(a_view(READY, CRASHED, service=TWO))
    assert (found["Ready"], found["Available"]) == ("False/RuntimeFailed", "True/Available")


def test_trouble_of_an_older_template_is_forgotten() -> None:
    assert condition(a_view(DOWNLOADING, outdated=[NOT_FOUND])).reason == "Downloading"


# Revisions.
@pytest.mark.parametrize("phase", [Phase.SURGE, Phase.IN_PLACE])
@pytest.mark.parametrize(
    ("pods", "reason"),
    [([], "RollingOut"), ([DOWNLOADING], "Downloading"), ([CRASHED], "RuntimeFailed"), ([READY], "RollingOut")],
)
def test_a_candidate_says_how_it_is_and_that_the_previous_version_serves(
    phase: Phase, pods: list[Raw], reason: str
) -> None:
    view = a_view(*pods, phase=phase, previous=[READY])
    assert (condition(view).reason, kstatus(view)) == (reason, "InProgress")
    assert condition(view).message.endswith(STILL_SERVING)
    assert condition(view, "Available").message == f"1 replica answers requests. {STILL_SERVING}"


def test_a_candidate_in_place_does_not_claim_that_anything_serves() -> None:
    view = a_view(CRASHED, phase=Phase.IN_PLACE)
    assert STILL_SERVING not in condition(view).message
    assert "comes back if this one fails" in condition(view).message
    assert condition(view, "Available").status == "False"


FAILED = FailedRevision("4e300000", "ImagePullFailed", "The server's image nowhere:1 cannot be pulled: not found.")


def test_a_failed_revision_is_stalled_while_the_previous_one_serves() -> None:
    view = a_view(phase=Phase.HELD, failed=FAILED, previous=[READY])
    found = short(view)
    assert found == {
        "Ready": "False/ImagePullFailed",
        "Reconciling": "False/ImagePullFailed",
        "Stalled": "True/ImagePullFailed",
        "Accepted": "True/Accepted",
        "ModelAvailable": "Unknown/ImagePullFailed",
        "Available": "True/Available",
    }
    assert condition(view).message.endswith(f"not found. {STILL_SERVING} Change the spec to try again.")


def test_a_revision_that_failed_for_its_model_says_so_in_model_available() -> None:
    failed = FailedRevision("4e300000", "ModelNotFound", "hf://a/b is not on the hub.")
    view = a_view(phase=Phase.HELD, failed=failed, previous=[READY])
    assert short(view)["ModelAvailable"] == "False/ModelNotFound"


def test_a_service_that_waits_for_its_turn_is_ready_and_says_why_it_waits() -> None:
    view = a_view(phase=Phase.QUEUED, previous=[READY], budget_waits=True)
    assert (condition(view).reason, kstatus(view)) == ("Ready", "Current")
    assert "waits until fewer services roll out" in condition(view).message
    assert short(view)["ModelAvailable"] == "True/Downloaded"


def test_a_service_that_waits_for_its_turn_and_has_lost_its_pods_is_not_ready() -> None:
    assert kstatus(a_view(phase=Phase.QUEUED, budget_waits=True)) == "InProgress"


# Rejected specs.
INVALID, NO_SECRET = Problem("InvalidSpec", "--x: unknown flag"), Problem("SecretNotFound", "Secret a does not exist.")


def rejected(*problems: Problem, pods: Raw | None = None, status: Raw | None = None) -> View:
    base = a_view(*([pods] if pods else []))
    snapshot = replace(base.snapshot, service=a_service(status=status))
    return View(snapshot, SETTINGS, NOW, problems=problems)


def test_a_rejected_spec_is_stalled_and_lists_all_problems() -> None:
    view = rejected(NO_SECRET, INVALID)
    assert short(view) == {
        "Ready": "False/InvalidSpec",
        "Reconciling": "False/InvalidSpec",
        "Stalled": "True/InvalidSpec",
        "Accepted": "False/InvalidSpec",
        "ModelAvailable": "Unknown/NotAccepted",
        "Available": "False/InvalidSpec",
    }
    assert condition(view, "Accepted").message == "Secret a does not exist; --x: unknown flag."


@pytest.mark.parametrize("reason", ["SecretNotFound", "StorageContainerNotFound", "StorageContainerUnreadable"])
def test_what_may_appear_by_itself_is_waited_for(reason: str) -> None:
    view = rejected(Problem(reason, "It does not exist"))
    assert (condition(view, "Reconciling").status, condition(view, "Reconciling").reason) == ("True", reason)
    assert kstatus(view) == "InProgress"


@pytest.mark.parametrize("reason", ["PolicyViolation", "SecretNotAllowed", "UnknownAccelerator"])
def test_what_somebody_must_change_is_stalled(reason: str) -> None:
    assert kstatus(rejected(Problem(reason, "It is not allowed"))) == "Failed"


def test_pods_that_run_go_on_answering_while_a_change_is_rejected() -> None:
    view = rejected(INVALID, pods=READY)
    assert condition(view, "Available").status == "True"
    assert condition(view).message.endswith("Running pods are left as they are and answer requests.")


# Faults.
def test_a_transient_fault_is_retried_and_reported_in_the_refusers_words() -> None:
    view = a_view(fault=Unavailable("POST services: 500 failed calling webhook"))
    assert (condition(view).reason, kstatus(view)) == ("Retrying", "InProgress")
    assert condition(view).message == "POST services: 500 failed calling webhook."


def test_a_refusal_that_lasts_is_stalled() -> None:
    assert kstatus(a_view(fault=Denied("POST services: 403 forbidden"))) == "Failed"


def test_a_service_that_was_refused_by_the_api_server_answers_nothing() -> None:
    view = a_view(READY, has_frontend=False, fault=Denied("POST services: 422 invalid"))
    assert condition(view, "Available").status == "False"


def test_a_fault_before_the_spec_was_read_keeps_what_was_reported_of_the_same_spec() -> None:
    said = {"status": "True", "reason": "Accepted", "message": "The spec is valid.", "observedGeneration": 1}
    service = a_service(status={"conditions": [{"type": "Accepted", **said}]})
    view = View(a_snapshot(service), SETTINGS, NOW, fault=Unavailable("GET secrets: 500"))
    assert short(view)["Accepted"] == "True/Accepted"
    assert short(view)["ModelAvailable"] == "Unknown/Retrying"


def test_what_was_reported_of_another_spec_is_not_repeated() -> None:
    said = {"status": "True", "reason": "Accepted", "message": "The spec is valid.", "observedGeneration": 0}
    service = a_service(status={"conditions": [{"type": "Accepted", **said}]})
    view = View(a_snapshot(service), SETTINGS, NOW, fault=Unavailable("GET secrets: 500"))
    assert short(view)["Accepted"] == "Unknown/Retrying"


def test_a_service_that_is_deleted_is_terminating() -> None:
    view = a_view(READY)
    service = {**view.service, "metadata": {**view.service["metadata"], "deletionTimestamp": ago(1)}}
    assert condition(replace(view, snapshot=replace(view.snapshot, service=service))).reason == "Terminating"


def test_a_message_of_a_megabyte_is_cut() -> None:
    assert len(condition(rejected(Problem("InvalidSpec", "x" * 1_000_000))).message) <= 2000


def test_reconciling_and_stalled_are_never_both_true() -> None:
    views = [a_view(READY), a_view(CRASHED), rejected(INVALID), rejected(NO_SECRET), a_view(fault=Denied("no"))]
    for view in views:
        states = [condition(view, each).status for each in ("Reconciling", "Stalled")]
        assert states.count(State.TRUE) <= 1
