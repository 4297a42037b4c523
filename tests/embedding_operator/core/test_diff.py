"""How a live object differs from the desired one, and what puts it right."""

import copy
from typing import Any

import pytest

from embedding_operator.core.build.base import digest, marked
from embedding_operator.core.diff import foreign_fields, needs_write, replacement
from support.builders import Raw, as_live


def edited(live: Raw, fields: Raw, *, manager: str = "kubectl-edit", **entry: Any) -> Raw:
    """The live object with one more entry in its managedFields: `fields`, in their form, belong to that manager."""
    more = {"manager": manager, "operation": "Update", "apiVersion": live["apiVersion"], "fieldsV1": fields, **entry}
    metadata = live["metadata"]
    return {**live, "metadata": {**metadata, "managedFields": [*metadata["managedFields"], more]}}


WANTED: Raw = marked(
    {
        "apiVersion": "apps/v1",
        "metadata": {"name": "x"},
        "spec": {"args": ["a", "b"], "env": [{"name": "A", "value": ""}], "limits": {"cpu": "1000m", "memory": "1Gi"}},
    }
)


def _live(**spec: Any) -> Raw:
    live = copy.deepcopy(WANTED)
    live["spec"] |= spec
    return live


@pytest.mark.parametrize(
    "live",
    [
        _live(),
        _live(replicas=1),
        _live(limits={"cpu": "1", "memory": "1024Mi"}),
        _live(env=[{"name": "B"}, {"name": "A"}]),
    ],
)
def test_defaults_other_fields_and_other_ways_to_write_an_amount_make_no_difference(live: Raw) -> None:
    assert not needs_write(WANTED, live)


@pytest.mark.parametrize(
    "live",
    [
        _live(args=["a"]),
        _live(args=["b", "a"]),
        _live(args=["a", "b", "c"]),
        _live(env=[{"name": "A", "value": "x"}]),
        _live(limits={"cpu": "2", "memory": "1Gi"}),
        _live(limits={"cpu": "1"}),
    ],
)
def test_what_was_changed_or_taken_out_makes_a_difference(live: Raw) -> None:
    assert needs_write(WANTED, live)


def test_what_is_no_longer_wanted_makes_a_difference_although_all_that_is_wanted_is_there() -> None:
    less = marked({"metadata": {"name": "x"}, "spec": {"args": ["a", "b"]}})
    assert needs_write(less, WANTED)


CONTAINER: Raw = {
    "name": "server",
    "command": ["runtime"],
    "args": ["serve"],
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "ports": [{"name": "http", "containerPort": 8080, "protocol": "TCP"}],
    "securityContext": {"capabilities": {"drop": ["ALL"]}},
    "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
}
DEPLOYMENT: Raw = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "x", "ownerReferences": [{"uid": "5eed", "controller": True}]},
    "spec": {
        "selector": {"matchLabels": {"of": "x"}},
        "template": {
            "metadata": {},
            "spec": {
                "initContainers": [],
                "containers": [CONTAINER],
                "volumes": [{"name": "keys", "secret": {"secretName": "s", "items": [{"key": "k", "path": "p"}]}}],
            },
        },
    },
}
SERVICE: Raw = {
    "apiVersion": "v1",
    "kind": "Service",
    "metadata": {"name": "x"},
    "spec": {"selector": {"of": "x"}, "ports": [{"name": "http", "port": 80, "protocol": "TCP", "targetPort": "http"}]},
}


def _pod_of(live: Raw) -> Raw:
    spec: Raw = live["spec"]["template"]["spec"]
    return spec


def _server_of(live: Raw) -> Raw:
    (server,) = _pod_of(live)["containers"]
    return dict(server)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("containers", 0, "args"), ["serve", "--more"]),
        (("containers", 0, "command"), ["sh"]),
        (("containers", 0, "securityContext", "capabilities", "drop"), ["ALL", "KILL"]),
        (("containers", 0, "volumeMounts", 0, "mountPath"), "/elsewhere"),
        (("containers", 0, "ports", 0, "containerPort"), 81),
        (("containers", 0, "ports", 0, "protocol"), "UDP"),
        (("containers", 0, "env", 1, "value"), "1"),
        (("volumes", 0, "secret", "items"), [{"key": "k", "path": "p"}, {"key": "more", "path": "q"}]),
    ],
)
def test_a_change_in_the_pod_needs_a_write(path: tuple[str | int, ...], value: Any) -> None:
    live = as_live(DEPLOYMENT)
    assert not needs_write(DEPLOYMENT, live)
    part: Any = _pod_of(live)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert needs_write(DEPLOYMENT, live)


@pytest.mark.parametrize(
    ("desired", "path"),
    [(SERVICE, ("selector",)), (DEPLOYMENT, ("selector", "matchLabels"))],
    ids=["Service", "Deployment"],
)
def test_one_more_label_in_a_selector_needs_a_write(desired: Raw, path: tuple[str, ...]) -> None:
    live = as_live(desired)
    part = live["spec"]
    for key in path:
        part = part[key]
    part["more"] = "blackhole"
    assert needs_write(desired, live)


def test_items_of_a_list_are_compared_with_those_of_their_key_in_any_order() -> None:
    live = as_live(DEPLOYMENT)
    _server_of(live)["env"].reverse()
    assert not needs_write(DEPLOYMENT, live)


def test_a_default_within_an_item_of_an_atomic_list_makes_no_difference() -> None:
    live = as_live(DEPLOYMENT)
    _pod_of(live)["volumes"][0]["secret"]["items"][0]["mode"] = 0o444
    assert not needs_write(DEPLOYMENT, live)


def _in_pod(**fields: Raw) -> Raw:
    return {"f:spec": {"f:template": {"f:spec": {f"f:{name}": value for name, value in fields.items()}}}}


SIDECAR: Raw = {'k:{"name":"sidecar"}': {".": {}, "f:image": {}, "f:name": {}}}
DEBUG: Raw = {'k:{"name":"server"}': {"f:env": {'k:{"name":"DEBUG"}': {".": {}, "f:name": {}, "f:value": {}}}}}
BY_HAND = [
    (_in_pod(containers=SIDECAR), "spec.template.spec.containers[name=sidecar]"),
    (_in_pod(containers=DEBUG), "spec.template.spec.containers[name=server].env[name=DEBUG]"),
    (_in_pod(hostNetwork={}), "spec.template.spec.hostNetwork"),
    ({"f:spec": {"f:paused": {}}}, "spec.paused"),
    (
        {"f:spec": {"f:ports": {'k:{"port":81,"protocol":"TCP"}': {".": {}, "f:port": {}}}}},
        "spec.ports[port=81,protocol=TCP]",
    ),
]


@pytest.mark.parametrize(("fields", "words"), BY_HAND)
def test_what_somebody_added_to_the_spec_by_hand_is_foreign(fields: Raw, words: str) -> None:
    assert foreign_fields(DEPLOYMENT, edited(as_live(DEPLOYMENT), fields)) == (words,)


RESTARTED: Raw = {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}
TOLERATED = [
    pytest.param(({"f:metadata": {"f:annotations": {"f:note": {}}}}, {}), id="annotation"),
    pytest.param(({"f:spec": {"f:template": {"f:metadata": RESTARTED}}}, {}), id="rollout restart"),
    pytest.param(({"f:spec": {"f:replicas": {}}}, {}), id="replicas"),
    pytest.param(({"f:spec": {"f:replicas": {}}}, {"subresource": "scale"}), id="scale"),
    pytest.param(({"f:status": {"f:replicas": {}}}, {"subresource": "status"}), id="status"),
    pytest.param((_in_pod(containers=SIDECAR), {"manager": "embedding-operator"}), id="webhook in our own write"),
    pytest.param((_in_pod(containers={'k:{"name":"server"}': {"f:args": {}}}), {}), id="desired too"),
]


@pytest.mark.parametrize("entry", TOLERATED)
def test_what_autoscalers_restarts_status_and_our_own_writes_own_is_not_foreign(entry: tuple[Raw, Raw]) -> None:
    fields, more = entry
    assert foreign_fields(DEPLOYMENT, edited(as_live(DEPLOYMENT), fields, **more)) == ()


@pytest.mark.parametrize(("fields", "_words"), BY_HAND)
def test_what_is_foreign_needs_a_write_that_drops_it_and_its_owner(fields: Raw, _words: str) -> None:
    live = edited(as_live(DEPLOYMENT), fields)
    assert needs_write(DEPLOYMENT, live)
    (entry,) = replacement(DEPLOYMENT, live)["metadata"]["managedFields"]
    assert (entry["manager"], entry["operation"]) == ("embedding-operator", "Update")
    assert entry["fieldsV1"], "without any, the API server tracks no manager of the object any more"


def test_a_replacement_is_the_desired_spec_over_the_version_that_was_read() -> None:
    live = as_live(DEPLOYMENT)
    live["metadata"] |= {"labels": {"team": "search"}, "annotations": {"note": "mine"}, "finalizers": ["their/own"]}
    put = replacement(DEPLOYMENT, live)
    assert put["spec"]["template"]["spec"] == DEPLOYMENT["spec"]["template"]["spec"]
    metadata = put["metadata"]
    assert (metadata["uid"], metadata["resourceVersion"]) == (
        live["metadata"]["uid"],
        live["metadata"]["resourceVersion"],
    )
    assert (metadata["labels"], metadata["annotations"]) == ({"team": "search"}, {"note": "mine"})
    assert metadata["finalizers"] == ["their/own"]
    assert "managedFields" not in metadata


def test_replicas_that_are_not_desired_stay_as_an_autoscaler_has_set_them() -> None:
    live = as_live(DEPLOYMENT)
    live["spec"]["replicas"] = 7
    assert not needs_write(DEPLOYMENT, live)
    assert replacement(DEPLOYMENT, live)["spec"]["replicas"] == 7


def test_a_rollout_restart_is_not_undone_by_the_next_write() -> None:
    live = as_live(DEPLOYMENT)
    restarted = {"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z", "serving.embeddings.dev/template": "old"}
    live["spec"]["template"]["metadata"] = {"annotations": restarted}
    annotations = replacement(DEPLOYMENT, live)["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {"kubectl.kubernetes.io/restartedAt": "2026-03-01T12:00:00Z"}


def test_owners_of_others_stay_when_an_object_is_taken_over() -> None:
    live = as_live(DEPLOYMENT)
    live["metadata"]["ownerReferences"] = [{"uid": "0ther"}]
    owners = replacement(DEPLOYMENT, live)["metadata"]["ownerReferences"]
    assert [owner["uid"] for owner in owners] == ["0ther", "5eed"]


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})
