from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from embedding_operator.core.diff import adopted
from embedding_operator.core.observed import ObjectRef
from embedding_operator.core.plan import (
    EventNote,
    Plan,
    plan,
    plan_denied,
    plan_storage_container,
    secret_poll_interval,
)
from embedding_operator.errors import Problem
from support.builders import (
    NOW,
    SETTINGS,
    Raw,
    a_pod,
    a_service,
    a_storage_container,
    an_observation,
    as_live,
    edited,
    running,
)

LATER = NOW + timedelta(hours=1)
KEYS = {"who": frozenset({"api-keys"})}
AUTH = {"apiKeysSecretRef": {"name": "who"}}


def _applied(service: Raw, *storage_containers: Raw) -> tuple[Raw, list[Raw], list[Raw]]:
    """The service with its status, its Deployments and its Services, once a first plan is carried out."""
    first = plan(service, an_observation(storage_containers=storage_containers, secrets=KEYS), SETTINGS, NOW)
    deployment, live = map(as_live, first.apply)
    return {**service, "status": first.status}, [deployment], [live]


def _template(deployment: Raw) -> str:
    annotations: dict[str, str] = deployment["spec"]["template"]["metadata"]["annotations"]
    return annotations["serving.embeddings.dev/template"]


def test_a_new_service_gets_a_deployment_and_a_service() -> None:
    first = plan(a_service(), an_observation(), SETTINGS, NOW)
    assert [(obj["kind"], obj["metadata"]["name"]) for obj in first.apply] == [
        ("Deployment", "embedding-model"),
        ("Service", "embedding-model"),
    ]
    assert first.delete == ()
    assert first.look_again is None


_amounts = st.sampled_from(["1", "1000m", "0.5", "2Gi", "2048Mi", 3])
_resources = st.fixed_dictionaries({"limits": st.dictionaries(st.sampled_from(["cpu", "memory"]), _amounts)})
_services = st.builds(
    a_service,
    replicas=st.integers(0, 3),
    resources=_resources,
    args=st.sampled_from([[], ["--backend=huggingface"], ["--dtype=float32", "--max-length=128"]]),
    auth=st.sampled_from([None, AUTH]),
    model=st.fixed_dictionaries({}, optional={"name": st.text(min_size=1, max_size=5)}),
)
_containers = st.fixed_dictionaries(
    {},
    optional={
        "image": st.just("hub:1"),
        "args": st.just(["--flag"]),
        "env": st.lists(st.fixed_dictionaries({"name": st.sampled_from("AB"), "value": st.sampled_from(["", "x"])})),
        "resources": _resources,
    },
)


@given(_services, _containers)
def test_a_plan_carried_out_leaves_nothing_to_do(service: Raw, container: Raw) -> None:
    storage = a_storage_container(container=container)
    done, deployments, services = _applied(service, storage)
    seen = an_observation(storage_containers=[storage], deployments=deployments, services=services, secrets=KEYS)
    assert plan(done, seen, SETTINGS, LATER) == Plan()


def test_what_somebody_changed_is_applied_again() -> None:
    done, deployments, services = _applied(a_service())
    deployments[0]["spec"]["replicas"] = 7
    again = plan(done, an_observation(deployments=deployments, services=services), SETTINGS, LATER)
    assert [obj["kind"] for obj in again.apply] == ["Deployment"]


def test_what_somebody_deleted_is_applied_again() -> None:
    done, deployments, _ = _applied(a_service())
    again = plan(done, an_observation(deployments=deployments), SETTINGS, LATER)
    assert [obj["kind"] for obj in again.apply] == ["Service"]


def test_what_was_taken_out_of_the_spec_is_applied() -> None:
    done, deployments, services = _applied(a_service(resources={"limits": {"memory": "1Gi"}}))
    less = {**done, "spec": {"model": done["spec"]["model"]}}
    again = plan(less, an_observation(deployments=deployments, services=services), SETTINGS, LATER)
    assert [obj["kind"] for obj in again.apply] == ["Deployment"]


def test_what_somebody_added_is_adopted_and_then_removed_by_an_apply() -> None:
    done, (deployment,), services = _applied(a_service())
    paused = edited(deployment, {"f:spec": {"f:paused": {}}})
    again = plan(done, an_observation(deployments=[paused], services=services), SETTINGS, LATER)
    assert again.replace == (adopted(paused),)
    assert [obj["kind"] for obj in again.apply] == ["Deployment"]


def test_nothing_of_an_object_that_the_service_does_not_control_is_adopted() -> None:
    done, (deployment,), services = _applied(a_service())
    deployment["metadata"]["ownerReferences"] = []
    paused = edited(deployment, {"f:spec": {"f:paused": {}}})
    assert plan(done, an_observation(deployments=[paused], services=services), SETTINGS, LATER).replace == ()


def _another(live: Raw, *owners: Raw) -> Raw:
    """A copy of a live object under another name: with its labels, as `kubectl expose` makes one."""
    metadata = {**live["metadata"], "name": "embedding-public", "uid": "c0b1", "ownerReferences": list(owners)}
    return {**live, "metadata": metadata}


def test_an_object_that_the_service_controls_and_no_longer_needs_is_deleted_by_uid() -> None:
    done, deployments, services = _applied(a_service())
    old = _another(deployments[0], {"uid": "5eed", "controller": True})
    again = plan(done, an_observation(deployments=[*deployments, old], services=services), SETTINGS, LATER)
    assert again == Plan(delete=(ObjectRef("apps/v1", "Deployment", "default", "embedding-public", uid="c0b1"),))


@pytest.mark.parametrize("owners", [[], [{"uid": "5eed"}], [{"uid": "other", "controller": True}]])
def test_a_copy_with_our_labels_that_the_service_does_not_control_is_left_alone(owners: list[Raw]) -> None:
    done, deployments, services = _applied(a_service())
    copies = [_another(live, *owners) for live in (*deployments, *services)]
    seen = an_observation(deployments=[*deployments, copies[0]], services=[*services, copies[1]])
    assert plan(done, seen, SETTINGS, LATER) == Plan()


def test_a_service_on_its_way_out_is_left_to_the_garbage_collector() -> None:
    service = a_service(backend="tensorflow")
    service["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
    assert plan(service, an_observation(), SETTINGS, NOW) == Plan()


def test_an_invalid_spec_makes_nothing_and_says_so_once() -> None:
    service = a_service(args=["--task=text_embedding"])
    first = plan(service, an_observation(), SETTINGS, NOW)
    assert (first.apply, first.delete, first.look_again) == ((), (), None)
    assert [(note.type, note.reason) for note in first.events] == [("Warning", "InvalidSpec")]
    assert plan({**service, "status": first.status}, an_observation(), SETTINGS, LATER) == Plan()


def test_an_invalid_change_leaves_what_runs_as_it_is() -> None:
    done, deployments, services = _applied(a_service())
    changed = {**done, "spec": {**done["spec"], "args": ["--nonsense=1"]}}
    pods = [a_pod(_template(deployments[0]), server=running(ready=True))]
    wanted = plan(changed, an_observation(deployments=deployments, services=services, pods=pods), SETTINGS, LATER)
    assert (wanted.apply, wanted.delete) == ((), ())


def test_a_missing_secret_is_looked_for_again_and_the_service_heals_when_it_is_there() -> None:
    service = a_service(model={"tokenSecretRef": {"name": "hf-secret"}})
    first = plan(service, an_observation(secrets={"hf-secret": None}), SETTINGS, NOW)
    assert first.apply == ()
    assert first.look_again == timedelta(seconds=10)
    waiting = {**service, "status": first.status}
    healed = plan(waiting, an_observation(secrets={"hf-secret": frozenset({"HF_TOKEN"})}), SETTINGS, LATER)
    assert len(healed.apply) == 2
    assert healed.look_again is None


@pytest.mark.parametrize(("waited", "interval"), [(0, 10), (9, 10), (40, 40), (299, 299), (86_400, 300), (-5, 10)])
def test_the_longer_a_secret_is_missing_the_less_often_it_is_looked_for(waited: int, interval: int) -> None:
    since = NOW.strftime("%Y-%m-%dT%H:%M:%SZ")
    assert secret_poll_interval(since, NOW + timedelta(seconds=waited)) == timedelta(seconds=interval)


def test_a_service_that_goes_without_a_secret_says_so_where_it_is_accepted() -> None:
    ref = {"name": "hf-secret", "key": "HF_TOKEN"}
    hub = a_storage_container(container={"env": [{"name": "HF_TOKEN", "valueFrom": {"secretKeyRef": ref}}]})
    first = plan(a_service(), an_observation(storage_containers=[hub], secrets={"hf-secret": None}), SETTINGS, NOW)
    assert first.status is not None
    (accepted,) = (each for each in first.status["conditions"] if each["type"] == "Accepted")
    assert accepted["status"] == "True"
    assert "Secret hf-secret does not exist in namespace default" in accepted["message"]


def test_a_service_whose_api_keys_vanish_goes_on_says_so_and_heals() -> None:
    done, deployments, services = _applied(a_service(auth=AUTH))
    pods = [a_pod(_template(deployments[0]), server=running(ready=True))]

    def after(service: Raw, secrets: Mapping[str, frozenset[str] | None]) -> tuple[Plan, dict[str, str]]:
        seen = an_observation(deployments=deployments, services=services, pods=pods, secrets=secrets)
        wanted = plan(service, seen, SETTINGS, LATER)
        assert (wanted.apply, wanted.delete) == ((), ())
        assert wanted.status is not None
        return wanted, {each["type"]: each["reason"] for each in wanted.status["conditions"]}

    vanished, conditions = after(done, {"who": None})
    assert (conditions["Ready"], conditions["Available"]) == ("SecretNotFound", "Available")
    assert vanished.look_again == timedelta(seconds=10)
    _, conditions = after({**done, "status": vanished.status}, KEYS)
    assert conditions["Ready"] == "Ready"


def test_an_event_tells_that_the_service_became_ready_and_none_that_it_still_is() -> None:
    done, deployments, services = _applied(a_service())
    pods = [a_pod(_template(deployments[0]), server=running(ready=True))]
    seen = an_observation(deployments=deployments, services=services, pods=pods)
    ready = plan(done, seen, SETTINGS, LATER)
    assert ready.events == (EventNote("Normal", "Ready", "1 of 1 replicas are ready."),)
    assert plan({**done, "status": ready.status}, seen, SETTINGS, LATER) == Plan()


def test_what_the_cluster_will_not_have_is_told_once_and_what_runs_is_left_alone() -> None:
    service, why = a_service(), Problem("NameTaken", "Service default/embedding-model belongs to another")
    denied = plan_denied(service, an_observation(), why, NOW)
    assert (denied.apply, denied.delete) == ((), ())
    assert [(note.type, note.reason) for note in denied.events] == [("Warning", "NameTaken")]
    assert plan_denied({**service, "status": denied.status}, an_observation(), why, LATER) == Plan()


def _storage_status(**fields: Any) -> tuple[str, str, str]:
    status = plan_storage_container(a_storage_container(**fields), NOW)
    assert status is not None
    (condition,) = status["conditions"]
    return condition["status"], condition["reason"], condition["message"]


def test_a_storage_container_says_which_uris_it_fetches() -> None:
    assert _storage_status() == ("True", "Accepted", "It fetches any URI except pvc:// and file://.")
    assert _storage_status(prefixes=["s3://"], regexes=["^gs"]) == ("True", "Accepted", "It fetches s3://, /^gs/.")


def test_a_storage_container_says_why_it_cannot_be_used() -> None:
    assert _storage_status(regexes=["("])[:2] == ("False", "InvalidSpec")
    assert _storage_status(container={"imaeg": "x"})[2] == "spec.container.imaeg is not a field: did you mean image?"
    assert _storage_status(disabled=True)[:2] == ("False", "Disabled")


def test_the_status_of_a_storage_container_is_written_once() -> None:
    raw = a_storage_container()
    assert plan_storage_container({**raw, "status": plan_storage_container(raw, NOW)}, LATER) is None
