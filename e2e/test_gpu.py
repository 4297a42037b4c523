"""A service that asks for a GPU where there is none says so, and starts as soon as there is one."""

from collections.abc import Iterator

import pytest
from kube import Service, advertise_gpus, apply
from services import a_service, with_token


@pytest.fixture
def no_gpu() -> Iterator[None]:
    advertise_gpus(0)
    yield
    advertise_gpus(4)


@pytest.mark.usefixtures("no_gpu")
def test_an_unschedulable_service_recovers_when_a_gpu_appears(namespace: str) -> None:
    with_token(namespace)
    limits = {"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": "1"}
    apply(a_service(namespace, resources={"requests": {"cpu": "50m", "memory": "300Mi"}, "limits": limits}))
    service = Service("embedding-model", namespace)

    message = service.says("Unschedulable")
    assert "0/1 nodes are available: 1 Insufficient nvidia.com/gpu" in message
    assert "nvidia.com/gpu 1" in message

    advertise_gpus(4)
    service.is_ready()
