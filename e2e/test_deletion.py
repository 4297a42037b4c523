"""Deleting a service leaves nothing behind, with the operator and without it."""

from collections.abc import Iterator

import pytest
from kube import Service, apply, everything, sh
from services import a_service, with_token
from waiting import eventually

MADE = "deployments,replicasets,pods,services,endpointslices"


@pytest.fixture
def no_operator() -> Iterator[None]:
    yield
    sh("kubectl scale deployment/embedding-operator -n embedding-operator --replicas=1")
    sh("kubectl rollout status deployment/embedding-operator -n embedding-operator --timeout=300s")


def test_deleting_a_service_leaves_nothing_behind(namespace: str) -> None:
    with_token(namespace)
    before = everything(namespace)
    service = _that_runs(namespace)

    sh(f"kubectl delete embeddingservice {service.name} -n {namespace}")

    _is_gone(service)
    eventually("nothing is left", lambda: everything(namespace) == before)


@pytest.mark.usefixtures("no_operator")
def test_deleting_a_service_while_the_operator_is_down_leaves_nothing_behind(namespace: str) -> None:
    with_token(namespace)
    before = everything(namespace)
    service = _that_runs(namespace)
    sh("kubectl scale deployment/embedding-operator -n embedding-operator --replicas=0")
    sh("kubectl wait --for=delete pods --all -n embedding-operator --timeout=300s")

    sh(f"kubectl delete embeddingservice {service.name} -n {namespace}")

    _is_gone(service)
    eventually("nothing is left", lambda: everything(namespace) == before)


def _that_runs(namespace: str) -> Service:
    apply(a_service(namespace))
    service = Service("embedding-model", namespace)
    sh(f"kubectl wait --for=create pods -l {service.pods} -n {namespace} --timeout=300s")
    sh(f"kubectl wait --for=create service/{service.name} -n {namespace} --timeout=300s")
    return service


def _is_gone(service: Service) -> None:
    sh(f"kubectl wait --for=delete {MADE} -l {service.pods} -n {service.namespace} --timeout=300s")
