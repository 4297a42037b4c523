import json
from typing import Any

from bench.operator.fleet import Fleet


def a_service(uid: str = "s", *, generation: int = 1, observed: int | None = 1, ready: bool = True) -> dict[str, Any]:
    conditions = [{"type": "Ready", "status": "False"}] if ready else []
    status = {} if observed is None else {"observedGeneration": observed, "conditions": conditions}
    return {"metadata": {"uid": uid, "generation": generation}, "status": status}


def a_child(
    uid: str, owner: str = "s", *, generation: int = 1, observed: int = 1, controller: bool = True
) -> dict[str, Any]:
    reference = {"kind": "EmbeddingService", "uid": owner, "controller": controller}
    return {
        "metadata": {"uid": uid, "generation": generation, "ownerReferences": [reference]},
        "status": {"observedGeneration": observed},
    }


def a_fleet(service: dict[str, Any], *, deployment: bool = True, child_service: bool = True) -> Fleet:
    fleet = Fleet()
    fleet.see("EmbeddingService", "ADDED", service)
    if deployment:
        fleet.see("Deployment", "ADDED", a_child("d"))
    if child_service:
        fleet.see("Service", "ADDED", a_child("c"))
    return fleet


def see_deployment(fleet: Fleet, uid: str, text: str = "", event: str = "MODIFIED", **fields: Any) -> None:
    deployment = {**a_child(uid, **fields), "spec": text}
    fleet.see("Deployment", event, deployment, json.dumps(deployment).encode())


def test_a_service_with_both_children_and_a_present_status_is_level() -> None:
    assert a_fleet(a_service()).level == 1


def test_a_service_without_a_deployment_is_not_level() -> None:
    assert a_fleet(a_service(), deployment=False).level == 0


def test_a_service_without_a_service_is_not_level() -> None:
    assert a_fleet(a_service(), child_service=False).level == 0


def test_a_status_about_an_earlier_generation_is_not_level() -> None:
    assert a_fleet(a_service(generation=2)).level == 0


def test_a_service_without_a_status_is_not_level() -> None:
    assert a_fleet(a_service(observed=None)).level == 0


def test_a_status_without_a_ready_condition_is_not_level() -> None:
    assert a_fleet(a_service(ready=False)).level == 0


def test_a_child_that_something_else_controls_does_not_count() -> None:
    fleet = a_fleet(a_service(), deployment=False)
    fleet.see("Deployment", "ADDED", a_child("d", controller=False))

    assert fleet.level == 0


def test_a_child_that_is_deleted_counts_no_more() -> None:
    fleet = a_fleet(a_service())
    fleet.see("Service", "DELETED", a_child("c"))

    assert fleet.level == 0


def test_one_of_two_deployments_may_go() -> None:
    fleet = a_fleet(a_service())
    see_deployment(fleet, "d2", event="ADDED")
    see_deployment(fleet, "d", event="DELETED")

    assert fleet.level == 1


def test_a_change_is_there_when_the_deployment_controller_has_caught_up_with_it() -> None:
    fleet = a_fleet(a_service())
    fleet.expect("new")
    see_deployment(fleet, "d", "new", generation=2, observed=1)
    assert fleet.marked == 0
    see_deployment(fleet, "d", "new", generation=2, observed=2)

    assert fleet.marked == 1


def test_a_deployment_of_an_earlier_change_is_not_marked_with_the_next_one() -> None:
    fleet = a_fleet(a_service())
    fleet.expect("new")
    see_deployment(fleet, "d", "new")
    fleet.expect("newer")

    assert fleet.marked == 0


def test_the_most_services_under_way_at_one_moment_are_remembered() -> None:
    fleet = Fleet()
    for owner in ("a", "b", "c"):
        see_deployment(fleet, f"d-{owner}", owner=owner)
    fleet.expect("new")
    for owner, observed in (("a", 1), ("b", 1), ("a", 2), ("c", 1), ("b", 2), ("c", 2)):
        see_deployment(fleet, f"d-{owner}", owner=owner, generation=2, observed=observed)

    assert fleet.most_under_way == 2


def test_two_deployments_of_one_service_are_one_service_under_way() -> None:
    fleet = Fleet()
    for uid in ("d1", "d2"):
        see_deployment(fleet, uid, generation=2, observed=1)

    assert fleet.most_under_way == 1


def test_a_deployment_that_is_deleted_is_no_longer_under_way() -> None:
    fleet = Fleet()
    see_deployment(fleet, "d", generation=2, observed=1)
    see_deployment(fleet, "d", event="DELETED", generation=2, observed=1)
    fleet.expect("new")

    assert fleet.most_under_way == 0
