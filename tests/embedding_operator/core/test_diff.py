import copy
from typing import Any

import pytest

from embedding_operator.core.diff import adopted, digest, foreign_fields, marked, needs_apply
from embedding_operator.core.quantity import amount
from support.builders import Raw, as_live, edited

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
    assert not needs_apply(WANTED, live)


@pytest.mark.parametrize(
    "live",
    [
        None,
        _live(args=["a"]),
        _live(args=["b", "a"]),
        _live(args=["a", "b", "c"]),
        _live(env=[{"name": "A", "value": "x"}]),
        _live(limits={"cpu": "2", "memory": "1Gi"}),
        _live(limits={"cpu": "1"}),
    ],
)
def test_what_was_changed_or_taken_out_makes_a_difference(live: Raw | None) -> None:
    assert needs_apply(WANTED, live)


def test_what_is_no_longer_wanted_makes_a_difference_although_all_that_is_wanted_is_there() -> None:
    less = marked({"metadata": {"name": "x"}, "spec": {"args": ["a", "b"]}})
    assert needs_apply(less, WANTED)


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
            "spec": {
                "initContainers": [],
                "containers": [CONTAINER],
                "volumes": [{"name": "keys", "secret": {"secretName": "s", "items": [{"key": "k", "path": "p"}]}}],
            }
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
def test_a_change_in_the_pod_needs_an_apply(path: tuple[str | int, ...], value: Any) -> None:
    live = as_live(DEPLOYMENT)
    assert not needs_apply(DEPLOYMENT, live)
    part: Any = _pod_of(live)
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    assert needs_apply(DEPLOYMENT, live)


@pytest.mark.parametrize(
    ("desired", "path"),
    [(SERVICE, ("selector",)), (DEPLOYMENT, ("selector", "matchLabels"))],
    ids=["Service", "Deployment"],
)
def test_one_more_label_in_a_selector_needs_an_apply(desired: Raw, path: tuple[str, ...]) -> None:
    live = as_live(desired)
    part = live["spec"]
    for key in path:
        part = part[key]
    part["more"] = "blackhole"
    assert needs_apply(desired, live)


def test_items_of_a_list_are_compared_with_those_of_their_key_in_any_order() -> None:
    live = as_live(DEPLOYMENT)
    _server_of(live)["env"].reverse()
    assert not needs_apply(DEPLOYMENT, live)


def test_a_field_that_our_apply_still_owns_and_that_is_not_desired_needs_an_apply() -> None:
    paused = {**DEPLOYMENT, "spec": {**DEPLOYMENT["spec"], "paused": True}}
    assert needs_apply(DEPLOYMENT, as_live(paused))


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
    assert foreign_fields(edited(as_live(DEPLOYMENT), fields)) == (words,)


RESTARTED: Raw = {"f:annotations": {".": {}, "f:kubectl.kubernetes.io/restartedAt": {}}}
TOLERATED = [
    pytest.param(({"f:metadata": {"f:annotations": {"f:note": {}}}}, {}), id="annotation"),
    pytest.param(({"f:spec": {"f:template": {"f:metadata": RESTARTED}}}, {}), id="rollout restart"),
    pytest.param(({"f:spec": {"f:replicas": {}}}, {}), id="replicas"),
    pytest.param(({"f:spec": {"f:replicas": {}}}, {"subresource": "scale"}), id="scale"),
    pytest.param(({"f:status": {"f:replicas": {}}}, {"subresource": "status"}), id="status"),
    pytest.param((_in_pod(containers=SIDECAR), {"manager": "embedding-operator"}), id="webhook in our own write"),
    pytest.param((_in_pod(containers={'k:{"name":"server"}': {"f:args": {}}}), {}), id="owned by us too"),
]


@pytest.mark.parametrize("entry", TOLERATED)
def test_what_autoscalers_restarts_status_and_our_own_writes_own_is_not_foreign(entry: tuple[Raw, Raw]) -> None:
    fields, more = entry
    assert foreign_fields(edited(as_live(DEPLOYMENT), fields, **more)) == ()


@pytest.mark.parametrize(("fields", "_words"), BY_HAND)
def test_an_adopted_field_is_ours_so_that_the_next_apply_removes_it(fields: Raw, _words: str) -> None:
    live = edited(as_live(DEPLOYMENT), fields)
    after = adopted(live)
    assert foreign_fields(after) == ()
    assert needs_apply(DEPLOYMENT, after)
    assert {**after, "metadata": {**after["metadata"], "managedFields": []}} == {
        **live,
        "metadata": {**live["metadata"], "managedFields": []},
    }


def test_an_adoption_leaves_to_others_what_is_not_foreign() -> None:
    both = {"f:paused": {}, "f:replicas": {}, "f:template": {"f:metadata": RESTARTED}}
    live = edited(as_live(DEPLOYMENT), {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": both})
    scaled = edited(live, {"f:spec": {"f:replicas": {}}}, manager="autoscaler", subresource="scale")
    ours, theirs, autoscaler = adopted(scaled)["metadata"]["managedFields"]
    assert ours["fieldsV1"]["f:spec"]["f:paused"] == {}
    del both["f:paused"]
    assert theirs["fieldsV1"] == {"f:metadata": {"f:labels": {"f:a": {}}}, "f:spec": both}
    assert autoscaler == scaled["metadata"]["managedFields"][-1]


def test_an_object_that_was_restored_without_our_entry_gets_one() -> None:
    live = as_live(DEPLOYMENT)
    live["metadata"]["managedFields"] = []
    (ours,) = adopted(edited(live, {"f:spec": {"f:paused": {}}}))["metadata"]["managedFields"]
    assert (ours["manager"], ours["operation"], ours["apiVersion"]) == ("embedding-operator", "Apply", "apps/v1")


def test_equal_values_have_equal_digests_whatever_the_order_of_their_keys() -> None:
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1}) != digest({"a": 2, "b": 1})


@pytest.mark.parametrize(
    ("one", "other"),
    [("1", "1000m"), ("1Gi", "1024Mi"), ("0.5", "500m"), ("1k", "1000"), ("1e3", "1k"), ("1.5Gi", "1536Mi")],
)
def test_amounts_are_compared_by_value(one: str, other: str) -> None:
    assert amount(one) == amount(other)


@pytest.mark.parametrize("text", ["", "two", "-1", "1 Gi", "1gi", "1e99"])
def test_what_is_no_amount_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not an amount"):
        amount(text)
