"""The operator, its API server and etcd go away and come back: nothing is lost, nothing is written twice.

`make e2e-slow` has the long outages.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from http import HTTPStatus

import chart
import operators
import pytest
from fleet import Fleet
from kube import get, sh
from outage import wait_through, without, without_network
from waiting import eventually

LEASE_SECONDS = 15
"""The operator's default: so long after its last renewal, a Lease may be taken by another."""
TAKEN_OVER = 30
"""Seconds in which a standby takes the Lease, as the chart's table of values says."""

native = pytest.mark.skipif(not operators.is_native(), reason="the cluster's processes are not this machine's")


@pytest.fixture
def two_operators() -> Iterator[None]:
    chart.install("replicas=2")
    operators.leader()
    yield
    chart.install()


@native
@pytest.mark.usefixtures("two_operators")
def test_a_leader_killed_in_the_middle_of_its_work_is_replaced(namespace: str) -> None:
    fleet, first = Fleet(namespace), operators.leader()

    with fleet.being_created(range(30)):
        eventually("the leader is in the middle of it", lambda: len(_deployments(namespace)) > 3)
        operators.signal_to(first, signal.SIGKILL)
        killed = time.time()
    fleet.create([30])  # the operator may have been through with the others

    fleet.is_level(31)
    assert killed < operators.led_since() < killed + TAKEN_OVER


@native
@pytest.mark.usefixtures("two_operators")
def test_a_leader_that_is_stopped_is_replaced_and_writes_nothing_when_it_wakes(namespace: str) -> None:
    fleet, first = Fleet(namespace), operators.leader()
    process = operators.process_of(first)

    try:
        with fleet.being_created(range(30)):
            eventually("the leader is in the middle of it", lambda: len(_deployments(namespace)) > 3)
            os.kill(process, signal.SIGSTOP)
            stopped = time.time()
        fleet.create([30])
        fleet.is_level(31)
        second = operators.leader()
        assert second != first
        assert stopped < operators.led_since() < stopped + TAKEN_OVER
        fleet.create(range(31, 60))
    finally:
        woke = time.time()
        with suppress(ProcessLookupError):  # the kubelet may have lost patience with it
            os.kill(process, signal.SIGCONT)

    fleet.is_level(60)
    _writes_nothing(first, since=woke, seconds=LEASE_SECONDS)
    assert operators.leader() == second


@native
@pytest.mark.slow_cluster
@pytest.mark.usefixtures("two_operators")
def test_a_leader_without_network_is_replaced_and_becomes_standby(namespace: str) -> None:
    fleet, first = Fleet(namespace), operators.leader()
    fleet.create(range(10))
    fleet.is_level(10)

    with without_network(first):
        cut, cut_at = time.monotonic(), time.time()
        fleet.create(range(10, 40))
        fleet.is_level(40)
        second = operators.leader()
        assert second != first
        assert operators.led_since() < cut_at + TAKEN_OVER
        wait_through(60 - (time.monotonic() - cut))
        back = time.time()

    fleet.create(range(40, 50))
    fleet.is_level(50)
    _writes_nothing(first, since=back, seconds=LEASE_SECONDS)
    operators.signal_to(second, signal.SIGKILL)
    fleet.create(range(50, 60))
    fleet.is_level(60)


@pytest.fixture
def fresh_controllers() -> Iterator[None]:
    """Kubernetes' garbage collector forgets kinds that it could not look up while the API server was away, for good."""
    yield
    for step in ("stop", "start"):
        sh(f"e2e/cluster/cluster {step}-component kube-controller-manager")


@native
@pytest.mark.usefixtures("fresh_controllers")
@pytest.mark.parametrize(
    ("component", "seconds"),
    [
        pytest.param("etcd", 10, id="etcd, 10 s"),
        pytest.param("kube-apiserver", 5, id="API server, 5 s"),
        pytest.param("kube-apiserver", 60, id="API server, 60 s", marks=pytest.mark.slow_cluster),
    ],
)
def test_an_outage_does_not_restart_the_operator(namespace: str, component: str, seconds: int) -> None:
    fleet = Fleet(namespace)
    fleet.create(range(10))
    fleet.is_level(10)
    restarts = operators.restarts()
    fleet.create(range(10, 40))

    with without(component):
        wait_through(seconds)
    eventually("the API server takes services", lambda: _are_created(fleet, range(40, 50)))
    fleet.is_level(50)

    assert operators.restarts() == restarts


def _are_created(fleet: Fleet, numbers: range) -> bool:
    """An API server that has just started may not know the CRDs yet."""
    fleet.create(numbers)
    return True


def _deployments(namespace: str) -> list[object]:
    found: list[object] = get("deployments", namespace)["items"]
    return found


def _writes_nothing(pod: str, *, since: float, seconds: float) -> None:
    """Neither until now nor for a while from now on: the audit log has every write and its user. A process that is
    stopped between its last look at the clock and the request sends that one when it wakes, to be refused.
    """
    wait_through(seconds)
    written = [
        (event["verb"], event["objectRef"], event["responseStatus"]["code"])
        for event in operators.writes_by(pod, since)
    ]
    assert len(written) <= 1, written
    assert [each for each in written if each[1]["resource"] != "events" and each[2] != HTTPStatus.CONFLICT] == []
