"""Several installs in one cluster: side by side they do not meet, and where their namespaces overlap one gives way."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import chart
import operators
import pytest
from fleet import Fleet
from kube import audit_log, get
from namespaces import a_namespace
from waiting import eventually, settles

OTHER_IMAGE = "images.runtime.cpu=nowhere.example/embedding-runtime:other"
"""So that two operators that both write want different Deployments."""


@pytest.fixture
def teams() -> Iterator[tuple[str, str]]:
    """Two namespaces, each with an install of its own, of one name, that manages it alone."""
    chart.uninstall()
    with ExitStack() as stack:
        names = tuple(stack.enter_context(a_namespace()) for _ in range(2))
        for name in names:
            stack.enter_context(_installed(name, "embedding-operator", name))
        yield names[0], names[1]
    chart.install()


def test_namespaced_installs_of_one_name_manage_their_own_namespaces(teams: tuple[str, str]) -> None:
    for team in teams:
        Fleet(team).create(range(3))
    for team in teams:
        Fleet(team).is_level(3)
        found = get("embeddingservices", team)["items"]
        assert {each["status"]["manager"] for each in found} == {f"{team}/embedding-operator"}

    first, second = teams
    chart.uninstall(namespace=first)
    Fleet(first).create([4])
    Fleet(second).create([4])

    Fleet(second).is_level(4)
    assert "status" not in get("embeddingservice service-4", first), "no operator manages it, the neighbour neither"


def test_a_second_operator_does_not_touch_services_of_the_first(namespace: str) -> None:
    fleet = Fleet(namespace)
    fleet.create(range(3))
    fleet.is_level(3)
    manager = f"{operators.NAMESPACE}/embedding-operator"

    with _installed(operators.NAMESPACE, "second", namespace, OTHER_IMAGE):
        for name in ("service-0", "service-1", "service-2"):
            told = _conflict(namespace, name)
            assert f"Lease {manager}" in told
            assert "Give the two operators different namespaces" in told
        settles("what both operators write", lambda: _writes(namespace), seconds=10)
        assert _writes(namespace, by="second") == []
        assert fleet.level() == {"service-0", "service-1", "service-2"}


def test_two_operators_that_meet_a_new_service_do_not_fight_over_it(namespace: str) -> None:
    fleet = Fleet(namespace)
    with _installed(operators.NAMESPACE, "second", namespace, OTHER_IMAGE):
        eventually("both are at work", lambda: operators.lease_holder("second-embedding-operator"))
        fleet.create(range(5))
        fleet.is_ready(5)
        settles("what both operators write", lambda: _writes(namespace), seconds=15)

        assert len(_writes(namespace)) <= 5 * 20, "no write war"
        managers = {each["status"]["manager"] for each in get("embeddingservices", namespace)["items"]}
        images = {
            each["spec"]["template"]["spec"]["containers"][0]["image"]
            for each in get("deployments", namespace)["items"]
        }
        assert len(managers) >= len(images), "each Deployment is of the operator that manages its service"


@contextmanager
def _installed(namespace: str, release: str, watched: str, *values: str) -> Iterator[None]:
    """An install that manages one namespace alone."""
    chart.install(f"watchNamespaces={{{watched}}}", "crds.enabled=false", *values, release=release, namespace=namespace)
    try:
        yield
    finally:
        chart.uninstall(release, namespace)


def _conflict(namespace: str, name: str) -> str:
    """Wait for the Event of one service, and return its words."""

    def look() -> str | None:
        which = f"reason=ConflictingManager,involvedObject.name={name}"
        found = get(f"events --field-selector {which}", namespace)["items"]
        return str(found[0]["message"]) if found else None

    return eventually(f"{name} is said to have two managers", look)


def _writes(namespace: str, by: str = "") -> list[tuple[str, str, str]]:
    """What the operators whose name begins so wrote in the namespace: verb, resource and name. Events aside, in
    which an operator that gives way says so.
    """
    account = f"system:serviceaccount:{operators.NAMESPACE}:{by}"
    return [
        (event["verb"], event["objectRef"]["resource"], event["objectRef"].get("name", ""))
        for event in audit_log()
        if event["objectRef"].get("namespace") == namespace
        and event["user"]["username"].startswith(account)
        and event["objectRef"]["resource"] != "events"
    ]
