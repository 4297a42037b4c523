"""A refusal appears in the status, with the words of the API server and a remedy; the service heals when it ends."""

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from kube import CommandFailed, Service, apply, get, record, sh
from services import PINNED, a_service, with_token
from waiting import eventually

NAME = "embedding-model"
ROLE = "clusterrole/embedding-operator.embedding-operator"


def test_a_failing_webhook_is_named_and_the_service_recovers_with_it(namespace: str) -> None:
    service = Service(NAME, namespace)
    with _a_webhook_without_a_server(namespace):
        apply(_without_pods(namespace))
        message = service.says("Retrying")
        assert f"{namespace}.mine.example" in message, message
        assert "Restore the webhook's backend, or delete its configuration" in message
        record(get(f"embeddingservice {NAME}", namespace), "InProgress", "failing-webhook")

    service.says("ScaledToZero")
    record(get(f"embeddingservice {NAME}", namespace), "Current", "scaled-to-zero")


def test_an_exceeded_object_quota_is_reported_and_a_raised_one_used(namespace: str) -> None:
    _quota(namespace, "count/deployments.apps=0")
    apply(_without_pods(namespace))
    service = Service(NAME, namespace)

    message = service.says("QuotaExceeded")
    assert "exceeded quota: quota" in message
    assert "Raise the quota" in message
    assert service.says("QuotaExceeded", "Stalled") == message
    record(get(f"embeddingservice {NAME}", namespace), "Failed", "quota-exceeded")

    sh(f"kubectl delete resourcequota quota -n {namespace}")
    service.says("ScaledToZero")


@pytest.mark.parametrize(
    ("hard", "words"),
    [
        pytest.param("pods=0", "exceeded quota: quota", id="pods"),
        pytest.param("limits.cpu=10m", "limits.cpu", id="limits.cpu"),
    ],
)
def test_an_exceeded_pod_quota_is_reported_and_a_raised_one_used(namespace: str, hard: str, words: str) -> None:
    _quota(namespace, hard)
    with_token(namespace)
    apply(a_service(namespace))
    service = Service(NAME, namespace)

    message = service.says("PodsRefused")
    assert words in message, message
    record(get(f"embeddingservice {NAME}", namespace), "InProgress", f"pods-refused-{hard.partition('=')[0]}")

    sh(f"kubectl delete resourcequota quota -n {namespace}")
    service.says("Downloaded", "ModelAvailable")


@pytest.mark.parametrize(
    ("resource", "verb"), [("deployments", "create"), ("services", "create"), ("jobs", "create"), ("secrets", "get")]
)
def test_a_missing_right_is_reported_and_used_once_granted(namespace: str, resource: str, verb: str) -> None:
    with_token(namespace)
    service = Service(NAME, namespace)
    with _without_right(resource, verb):
        apply(a_service(namespace, replicas=0))
        message = service.says("Forbidden")
        assert f'cannot {verb} resource "{resource}"' in message, message
        assert "the chart's roles have it" in message
        record(get(f"embeddingservice {NAME}", namespace), "Failed", f"forbidden-{resource}")

    service.says("ScaledToZero")


def test_a_correction_takes_effect_on_a_full_node_too(namespace: str) -> None:
    """The failed pod requests most of the node's CPUs: its successor fits only when it is gone."""
    cpus = int(get("nodes")["items"][0]["status"]["allocatable"]["cpu"])
    full = {"limits": {"memory": "2Gi"}, "requests": {"cpu": f"{cpus * 600}m", "memory": "256Mi"}}
    apply(a_service(namespace, model={"tokenSecretRef": None}, resources=full))
    service = Service(NAME, namespace)
    assert "no token was used" in service.says("ModelNotFound")

    with_token(namespace)
    apply(a_service(namespace, resources=full))
    service.is_ready()
    deployment = get(f"deployments -l {service.pods}", namespace)["items"][0]
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def _without_pods(namespace: str) -> dict[str, Any]:
    return a_service(namespace, model={"storageUri": PINNED, "tokenSecretRef": None}, replicas=0)


def _quota(namespace: str, hard: str) -> None:
    """Returns when it counts: a quota that is not yet computed refuses everything, in other words."""
    sh(f"kubectl create quota quota -n {namespace} --hard={hard}")
    sh(f"kubectl wait resourcequota/quota -n {namespace} --for=jsonpath='{{.status.hard}}' --timeout=180s")


@contextmanager
def _a_webhook_without_a_server(namespace: str) -> Iterator[None]:
    """Asked about every Deployment of the namespace, and there is no server behind its Service."""
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    webhook = {
        "name": f"{namespace}.mine.example",
        "failurePolicy": "Fail",
        "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
        "timeoutSeconds": 5,
        "namespaceSelector": selector,
        "rules": [{"apiGroups": ["apps"], "apiVersions": ["v1"], "operations": ["*"], "resources": ["deployments"]}],
        "clientConfig": {"service": {"name": "nobody", "namespace": namespace}},
    }
    sh(f"kubectl create service clusterip nobody -n {namespace} --tcp=443")
    kind = "ValidatingWebhookConfiguration"
    meta = {"name": namespace}
    apply({"apiVersion": "admissionregistration.k8s.io/v1", "kind": kind, "metadata": meta, "webhooks": [webhook]})
    try:
        eventually("the API server knows the webhook", lambda: _is_asked(f"{namespace}.mine.example", namespace))
        yield
    finally:
        sh(f"kubectl delete {kind} {namespace}")


@contextmanager
def _without_right(resource: str, verb: str) -> Iterator[None]:
    """The operator's ClusterRole of the chart, less one verb on one resource."""
    rules = get(ROLE)["rules"]
    fewer = [
        {**rule, "verbs": [each for each in rule["verbs"] if each != verb]} if resource in rule["resources"] else rule
        for rule in rules
    ]
    assert fewer != rules
    _set_rules(fewer)
    try:
        eventually("the API server knows the rules", lambda: not _may(verb, resource))
        yield
    finally:
        _set_rules(rules)


def _is_asked(webhook: str, namespace: str) -> bool:
    try:
        sh(f"kubectl create deployment asks -n {namespace} --image=none --dry-run=server")
    except CommandFailed as refused:
        return webhook in str(refused)
    return False


def _may(verb: str, resource: str) -> bool:
    """Whether the operator may, everywhere."""
    account = "system:serviceaccount:embedding-operator:embedding-operator"
    try:
        sh(f"kubectl auth can-i {verb} {resource} --all-namespaces --as={account}")
    except CommandFailed:
        return False
    return True


def _set_rules(rules: list[dict[str, Any]]) -> None:
    patch = [{"op": "replace", "path": "/rules", "value": [rule for rule in rules if rule["verbs"]]}]
    sh(f"kubectl patch {ROLE} --type=json -p {shlex.quote(json.dumps(patch))}")
