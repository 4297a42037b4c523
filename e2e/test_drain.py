"""A drain of nodes takes one pod of a service at a time, and no request with it."""

import json

import pytest
from kube import CommandFailed, Service, apply, get, record, sh
from load import under_load
from services import a_service, with_token
from waiting import eventually

NAME = "embedding-model"
SMALL = {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "50m", "memory": "256Mi"}}


def test_both_pods_are_drained_under_load_and_no_request_fails(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, replicas=2, resources=SMALL))
    service = Service(NAME, namespace)
    service.is_ready()
    first, second = _pods(service)

    with under_load(service, NAME, requests=1_000, seconds=600, until_stopped=True) as load:
        _evict(first, namespace)
        with pytest.raises(CommandFailed, match="disruption budget"):
            _evict(second, namespace)
        record(service.not_ready(), "InProgress", "pod-evicted")
        eventually("the second pod may go", lambda: _evict(second, namespace), within=300)
        eventually("both pods are new", lambda: not {first, second} & set(_pods(service)))
        service.is_ready()
        answers = load.stop()

    assert [answer.error for answer in answers if answer.error] == []


def _pods(service: Service) -> list[str]:
    found = get(f"pods -l {service.servers}", service.namespace)["items"]
    return [each["metadata"]["name"] for each in found if "deletionTimestamp" not in each["metadata"]]


def _evict(pod: str, namespace: str) -> bool:
    """What a drain asks for. Raises CommandFailed when the PodDisruptionBudget does not allow it now."""
    metadata = {"name": pod, "namespace": namespace}
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": metadata}
    path = f"/api/v1/namespaces/{namespace}/pods/{pod}/eviction"
    sh(f"kubectl create --raw {path} -f -", stdin=json.dumps(eviction))
    return True
