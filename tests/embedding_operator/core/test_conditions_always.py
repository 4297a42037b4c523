"""What holds for the conditions of every service, whatever its pods do: all combinations of a few situations."""

import functools
import itertools
import re
from dataclasses import replace
from typing import Any

import pytest

from embedding_operator.core.conditions import calculate
from embedding_operator.core.reasons import Reason
from embedding_operator.core.records import Finding
from embedding_operator.core.rollout import FailedRevision, Phase
from embedding_operator.core.view import View
from embedding_operator.errors import Denied, Unavailable
from support.builders import Raw, a_service, ended, running, waiting
from support.views import DOWNLOADED, a_view, started

PODS: tuple[Raw, ...] = (
    {},
    {"unschedulable": "0/1 nodes are available: 1 Insufficient cpu."},
    {"initializer": running()},
    {"initializer": ended(1, "ModelNotFound: hf://a/b is not on the hub")},
    {"initializer": DOWNLOADED, "server": running()},
    {"initializer": DOWNLOADED, "server": ended(137)},
    {"initializer": DOWNLOADED, "server": started(seconds_ago=100)},
    {"initializer": DOWNLOADED, "server": waiting("CreateContainerError", "no device")},
    {"ready": True, "ready_changed": 1},
    {"ready": True},
)
RESOLVING = Finding("Resolving", "A Job resolves hf://a/b to a commit.")
FAILED = FailedRevision("4e300000", "OutOfMemory", "The server was killed.")
SITUATIONS: tuple[dict[str, Any], ...] = (
    {},
    {"has_writes": True},
    {"budget_waits": True},
    {"fault": Unavailable("GET pods: 500")},
    {"fault": Denied("POST services: 403")},
)


@functools.cache
def all_views() -> tuple[View, ...]:
    pods = [(), *((pod,) for pod in PODS), *((PODS[-1], pod) for pod in PODS[::3])]
    views = [
        a_view(
            *made,
            service=a_service(replicas=replicas),
            previous=previous,
            phase=phase,
            failed=FAILED,
            resolving=RESOLVING if phase is Phase.RESOLVING else None,
        )
        for replicas, made, previous, phase in itertools.product((0, 1, 2), pods, ((), ({"ready": True},)), Phase)
    ]
    return (
        *(replace(view, **situation) for view, situation in itertools.product(views, SITUATIONS)),
        *(replace(view, snapshot=replace(view.snapshot, children=view.snapshot.children[:1])) for view in views),
    )


def states(view: View) -> dict[str, tuple[str, str]]:
    return {each.type: (each.status, each.reason) for each in calculate(view)}


def is_as_planned(view: View) -> bool:
    assert view.rollout is not None
    return (
        view.rollout.phase in {Phase.FIRST, Phase.SETTLED}
        and len(view.settled) == view.replicas == len(view.snapshot.live_pods())
        and view.snapshot.frontend is not None
        and not (view.has_writes or view.fault)
    )


def test_ready_is_true_exactly_when_everything_is_as_planned() -> None:
    """Where nothing waits for its turn: then what is planned is to leave things as they are."""
    views = (view for view in all_views() if view.rollout and view.rollout.phase is not Phase.QUEUED)
    decided = (view for view in views if not view.budget_waits)
    wrong = [view for view in decided if (states(view)["Ready"][0] == "True") != is_as_planned(view)]
    assert not wrong


def test_a_service_that_is_not_ready_is_either_reconciling_or_stalled() -> None:
    for view in all_views():
        found = states(view)
        assert [found[each][0] for each in ("Ready", "Reconciling", "Stalled")].count("True") == 1


def test_ready_has_the_reason_of_what_keeps_it_from_being_true() -> None:
    for view in all_views():
        found = states(view)
        blocking = next((each for each in ("Reconciling", "Stalled") if found[each][0] == "True"), "Ready")
        assert found["Ready"][1] == found[blocking][1]


def test_available_is_true_exactly_when_a_pod_that_the_service_selects_is_ready() -> None:
    for view in all_views():
        assert (states(view)["Available"][0] == "True") == bool(view.answering)


def test_nothing_claims_that_a_previous_version_serves_where_none_does() -> None:
    for view in all_views():
        claims = any("previous version is still serving" in each.message for each in calculate(view))
        assert not claims or view.previous_serves


def test_every_message_is_a_sentence() -> None:
    for each in itertools.chain.from_iterable(map(calculate, all_views())):
        assert each.message[:1].isupper() or each.message.startswith(("hf://", "spec.", "0 ", "1 ", "2 ")), each.message
        assert each.message.endswith("."), each.message


def test_no_message_counts_more_pods_than_replicas() -> None:
    counts = [
        (int(found[1]), int(found[2]))
        for each in itertools.chain.from_iterable(map(calculate, all_views()))
        for found in re.finditer(r"(\d+) of (\d+) ", each.message)
    ]
    assert counts
    assert all(there <= wanted for there, wanted in counts)


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_is_described(reason: Reason) -> None:
    assert reason.description.endswith(".")


def test_a_view_is_not_changed_by_looking_at_it() -> None:
    for view in all_views()[::50]:
        assert calculate(view) == calculate(replace(view))
