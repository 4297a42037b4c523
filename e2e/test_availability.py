"""The operator, its API server and etcd go away and come back: nothing is lost, nothing is written twice.

`make e2e-slow` has the long outages.
"""

import signal
import time
from collections.abc import Iterator

import chart
import operators
import pytest
from fleet import Fleet
from kube import get, sh
from outage import wait_through, without, without_network
from waiting import eventually, stays

LEASE_SECONDS = 15
"""The operator's default: so long after its last renewal, a Lease may be taken by another."""
TAKEN_OVER = LEASE_SECONDS + 5
"""Until a candidate has looked at the Lease once more, and the objects are listed."""

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
        eventually("the leader is in the middle of it", lambda: 3 < len(_deployments(namespace)) < 27, within=10)
        operators.signal_to(first, signal.SIGKILL)
        killed = time.monotonic()

    fleet.is_level(30, within=20 - (time.monotonic() - killed))


@native
@pytest.mark.usefixtures("two_operators")
def test_a_leader_that_is_stopped_is_replaced_and_writes_nothing_when_it_wakes(namespace: str) -> None:
    fleet, first = Fleet(namespace), operators.leader()

    try:
        with fleet.being_created(range(30)):
            eventually("the leader is in the middle of it", lambda: 3 < len(_deployments(namespace)) < 27, within=10)
            operators.signal_to(first, signal.SIGSTOP)
        fleet.is_level(30, within=TAKEN_OVER)
        second = operators.leader()
        assert second != first
        fleet.create(range(30, 60))
    finally:
        woke = time.time()
        operators.signal_to(first, signal.SIGCONT)

    fleet.is_level(60, within=TAKEN_OVER)
    _writes_nothing(first, since=woke, seconds=LEASE_SECONDS)
    assert operators.leader() == second


@native
@pytest.mark.slow_cluster
@pytest.mark.usefixtures("two_operators")
def test_a_leader_without_network_is_replaced_and_becomes_standby(namespace: str) -> None:
    fleet, first = Fleet(namespace), operators.leader()
    fleet.create(range(10))
    fleet.is_level(10, within=20)

    with without_network(first):
        cut = time.monotonic()
        fleet.create(range(10, 40))
        fleet.is_level(40, within=TAKEN_OVER)
        second = operators.leader()
        assert second != first
        wait_through(60 - (time.monotonic() - cut))
        back = time.time()

    fleet.create(range(40, 50))
    fleet.is_level(50, within=20)
    _writes_nothing(first, since=back, seconds=LEASE_SECONDS)
    operators.signal_to(second, signal.SIGKILL)
    fleet.create(range(50, 60))
    fleet.is_level(60, within=TAKEN_OVER)


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
    fleet.is_level(10, within=20)
    restarts = operators.restarts()
    fleet.create(range(10, 40))

    with without(component):
        wait_through(seconds)
    eventually("the API server answers", lambda: sh("kubectl get --raw /readyz"), within=30)
    back = time.monotonic()
    fleet.create(range(40, 50))
    fleet.is_level(50, within=15 - (time.monotonic() - back))

    assert operators.restarts() == restarts


def _deployments(namespace: str) -> list[object]:
    found: list[object] = get("deployments", namespace)["items"]
    return found


def _writes_nothing(pod: str, *, since: float, seconds: float) -> None:
    """Neither until now nor for a while from now on: the audit log has every write and its user."""
    stays("what the former leader wrote", lambda: list(operators.writes_by(pod, since)), seconds=seconds)
    written = operators.writes_by(pod, since)
    assert not written, [(event["verb"], event["objectRef"], event["responseStatus"]["code"]) for event in written]
