"""The operator keeps its own objects as it made them, and never touches objects of others, whatever their labels."""

import json
import os
import shlex
from collections.abc import Iterable, Mapping
from typing import Any

import operators
import pytest
from kube import Service, apply, get, record, sh
from services import PINNED, a_service, with_token
from waiting import eventually, stays

NAME = "embedding-model"
OWNERSHIP_SECONDS = int(os.environ.get("OWNERSHIP_SECONDS", "20"))
"""How long foreign objects are looked at; 600 for the long look."""
MINE = {"app": "mine"}


@pytest.mark.timeout(OWNERSHIP_SECONDS * 2 + 900)
def test_objects_of_others_with_our_labels_are_left_alone(namespace: str) -> None:
    service = _that_is_ready(namespace)
    deployment = _deployment(service)
    sh(f"kubectl expose {deployment} --name=embedding-public -n {namespace}")
    for kind, source in (("deployment", deployment), ("service", f"service/{NAME}")):
        apply(_copy(get(source, namespace), f"{kind}-copy"))
    apply(_foreign("ConfigMap", "config-copy", service))
    apply(_foreign("Pod", "pod-copy", service, spec=_pod_without_image()))
    others = (
        "service/embedding-public",
        "deployment/deployment-copy",
        "service/service-copy",
        "configmap/config-copy",
        "pod/pod-copy",
    )
    assert _labels(get("service embedding-public", namespace))["serving.embeddings.dev/service"] == NAME

    ready = _ready(service)
    stays("an object of others", lambda: _identities(others, namespace), seconds=OWNERSHIP_SECONDS)
    before = _identities(others, namespace)
    operators.restart()
    stays("an object of others", lambda: _identities(others, namespace), seconds=OWNERSHIP_SECONDS)

    assert _identities(others, namespace) == before
    assert _ready(service) == ready, "the pod of others says nothing about the service"
    record(get(f"embeddingservice {NAME}", namespace), "Current", "ready-beside-objects-of-others")


PORT_81 = [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}]
CONTAINER = "/spec/template/spec/containers"
HAND_EDITS: Mapping[str, tuple[str, list[dict[str, Any]]]] = {
    "another port": ("service", PORT_81),
    "one more key in the selector": ("service", [{"op": "add", "path": "/spec/selector/app", "value": "mine"}]),
    "a selector of its own": ("service", [{"op": "replace", "path": "/spec/selector", "value": MINE}]),
    "another type": ("service", [{"op": "replace", "path": "/spec/type", "value": "NodePort"}]),
    "paused": ("deployment", [{"op": "add", "path": "/spec/paused", "value": True}]),
    "an environment variable": (
        "deployment",
        [{"op": "add", "path": f"{CONTAINER}/0/env/-", "value": {"name": "MINE", "value": "1"}}],
    ),
    "a sidecar": (
        "deployment",
        [{"op": "add", "path": f"{CONTAINER}/-", "value": {"name": "mine", "image": "mine.example/mine"}}],
    ),
    "the host's network": ("deployment", [{"op": "add", "path": "/spec/template/spec/hostNetwork", "value": True}]),
    "another memory limit": (
        "deployment",
        [{"op": "replace", "path": f"{CONTAINER}/0/resources/limits/memory", "value": "3Gi"}],
    ),
    "an additional limit": (
        "deployment",
        [{"op": "add", "path": f"{CONTAINER}/0/resources/limits/ephemeral-storage", "value": "1Gi"}],
    ),
    "a node selector": ("deployment", [{"op": "add", "path": "/spec/template/spec/nodeSelector", "value": MINE}]),
    "no security context": (
        "deployment",
        [{"op": "remove", "path": f"{CONTAINER}/0/securityContext/capabilities"}],
    ),
    "more replicas": ("deployment", [{"op": "replace", "path": "/spec/replicas", "value": 1}]),
}


@pytest.mark.parametrize("change", HAND_EDITS)
def test_a_manual_change_is_reverted(namespace: str, change: str) -> None:
    service = _without_pods(namespace)
    kind, patch = HAND_EDITS[change]
    made = f"service/{NAME}" if kind == "service" else _deployment(service)
    _is_put_right(made, namespace, patch)


def test_a_repeated_manual_change_is_reverted(namespace: str) -> None:
    service = _without_pods(namespace)
    for change in ("paused", "a sidecar", "paused"):  # the fourth within a minute is a contest with another controller
        _, patch = HAND_EDITS[change]
        _is_put_right(_deployment(service), namespace, patch)


def test_annotations_and_labels_of_others_stay(namespace: str) -> None:
    service = _without_pods(namespace)
    for each in (f"service/{NAME}", _deployment(service)):
        sh(f"kubectl annotate {each} -n {namespace} mine.example/owner=me")
        sh(f"kubectl label {each} -n {namespace} mine.example/team=search")

    sh(f"kubectl patch service/{NAME} -n {namespace} --type=json -p {shlex.quote(json.dumps(PORT_81))}")
    eventually("the port is put right", lambda: get(f"service {NAME}", namespace)["spec"]["ports"][0]["port"] == 80)
    apply(_a_service(namespace, replicas=0, resources={"limits": {"memory": "1Gi"}}))
    eventually("the change is rolled out", lambda: _memory(service) == "1Gi")

    for each in (f"service/{NAME}", _deployment(service)):
        found = get(each, namespace)
        assert found["metadata"]["annotations"]["mine.example/owner"] == "me"
        assert _labels(found)["mine.example/team"] == "search"


def test_a_rollout_restart_is_honoured(namespace: str) -> None:
    service = _that_is_ready(namespace)
    deployment = _deployment(service)
    before = _pod_names(service)

    sh(f"kubectl rollout restart {deployment} -n {namespace}")
    record(service.shown("RollingOut"), "InProgress", "rollout-restart")
    sh(f"kubectl rollout status {deployment} -n {namespace} --timeout=600s")
    service.is_ready()

    assert not before & _pod_names(service)
    annotations = get(deployment, namespace)["spec"]["template"]["metadata"]["annotations"]
    assert "kubectl.kubernetes.io/restartedAt" in annotations


@pytest.mark.parametrize("kind", ["deployment", "service"])
def test_an_orphaned_object_is_adopted_if_it_is_labelled(namespace: str, kind: str) -> None:
    service = _without_pods(namespace)
    made = _deployment(service) if kind == "deployment" else f"service/{NAME}"
    uid = get(made, namespace)["metadata"]["uid"]

    remove = [{"op": "remove", "path": "/metadata/ownerReferences"}]
    sh(f"kubectl patch {made} -n {namespace} --type=json -p {shlex.quote(json.dumps(remove))}")
    message = service.says("NameTaken")
    assert 'serving.embeddings.dev/adopt="true"' in message
    record(get(f"embeddingservice {NAME}", namespace), "Failed", f"name-taken-{kind}")

    sh(f"kubectl annotate {made} -n {namespace} serving.embeddings.dev/adopt=true")
    service.says("ScaledToZero")
    adopted = get(made, namespace)["metadata"]
    assert adopted["uid"] == uid
    assert [each["name"] for each in adopted["ownerReferences"] if each["controller"]] == [NAME]


def test_a_service_recreated_immediately_becomes_ready(namespace: str) -> None:
    service = _without_pods(namespace)
    first = get(f"embeddingservice {NAME}", namespace)["metadata"]["uid"]

    sh(f"kubectl delete embeddingservice {NAME} -n {namespace}")
    apply(_a_service(namespace, replicas=0))
    service.says("ScaledToZero")

    second = get(f"embeddingservice {NAME}", namespace)["metadata"]["uid"]
    for each in (f"service/{NAME}", _deployment(service)):
        assert [owner["uid"] for owner in get(each, namespace)["metadata"]["ownerReferences"]] == [second]
    assert second != first
    warnings = get("events --field-selector type=Warning", namespace)["items"]
    assert [each["message"] for each in warnings if each["involvedObject"]["kind"] == "EmbeddingService"] == []


def _that_is_ready(namespace: str) -> Service:
    with_token(namespace)
    apply(a_service(namespace))
    service = Service(NAME, namespace)
    service.is_ready()
    return service


def _without_pods(namespace: str) -> Service:
    apply(_a_service(namespace, replicas=0))
    service = Service(NAME, namespace)
    service.says("ScaledToZero")
    return service


def _a_service(namespace: str, **spec: Any) -> dict[str, Any]:
    return a_service(namespace, model={"storageUri": PINNED, "tokenSecretRef": None}, **spec)


def _deployment(service: Service) -> str:
    """Its name, as kubectl takes it."""
    revision = get(f"embeddingservice {service.name}", service.namespace)["status"]["revision"]["serving"]
    return f"deployment/{service.name}-{revision}"


def _memory(service: Service) -> str:
    template = get(_deployment(service), service.namespace)["spec"]["template"]["spec"]
    return str(template["containers"][0]["resources"]["limits"]["memory"])


def _pod_names(service: Service) -> frozenset[str]:
    items = get(f"pods -l {service.servers}", service.namespace)["items"]
    return frozenset(each["metadata"]["name"] for each in items if "deletionTimestamp" not in each["metadata"])


def _ready(service: Service) -> dict[str, Any]:
    conditions = get(f"embeddingservice {service.name}", service.namespace)["status"]["conditions"]
    [ready] = [each for each in conditions if each["type"] == "Ready"]
    return dict(ready)


def _identities(objects: Iterable[str], namespace: str) -> dict[str, tuple[str, str]]:
    """UID and resourceVersion; those of pods and Deployments move with their status, so their generation is taken."""
    found = {}
    for each in objects:
        meta = get(each, namespace)["metadata"]
        has_status = each.startswith(("deployment", "pod"))
        version = str((meta.get("generation", 1), meta["labels"])) if has_status else meta["resourceVersion"]
        found[each] = (meta["uid"], version)
    return found


def _labels(found: Mapping[str, Any]) -> dict[str, str]:
    labels: dict[str, str] = found["metadata"]["labels"]
    return labels


def _copy(source: Mapping[str, Any], name: str) -> dict[str, Any]:
    """What `kubectl get -o yaml`, another name and `kubectl apply` make of it."""
    spec = {key: value for key, value in source["spec"].items() if not key.startswith("clusterIP")}
    metadata = {"name": name, "namespace": source["metadata"]["namespace"], "labels": _labels(source)}
    if source["kind"] == "Deployment":
        spec["replicas"] = 0
    return {"apiVersion": source["apiVersion"], "kind": source["kind"], "metadata": metadata, "spec": spec}


def _foreign(kind: str, name: str, service: Service, **rest: Any) -> dict[str, Any]:
    """An object of somebody else's, with all the labels of a pod of the service but the hash of its ReplicaSet."""
    labels = dict(get(_deployment(service), service.namespace)["spec"]["template"]["metadata"]["labels"])
    metadata = {"name": name, "namespace": service.namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": kind, "metadata": metadata, **rest}


def _pod_without_image() -> dict[str, Any]:
    """Never ready, so that it gets no request of the service."""
    return {
        "automountServiceAccountToken": False,
        "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {
                "name": "server",
                "image": "nowhere.example/none",
                "imagePullPolicy": "Never",
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
    }


def _is_put_right(made: str, namespace: str, patch: list[dict[str, Any]]) -> None:
    """Patch an object, and wait until its spec is what it was."""
    before = get(made, namespace)["spec"]
    sh(f"kubectl patch {made} -n {namespace} --type=json -p {shlex.quote(json.dumps(patch))}")
    eventually(f"{made} is put right", lambda: _without_node_port(get(made, namespace)["spec"]) == before)


def _without_node_port(spec: dict[str, Any]) -> dict[str, Any]:
    ports = [{key: value for key, value in port.items() if key != "nodePort"} for port in spec.get("ports", ())]
    return {**spec, "ports": ports} if ports else spec
