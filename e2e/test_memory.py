"""What the initializer reports, read by a real kubelet: the commit of the model, and the warning about memory."""

from typing import Any

from kube import Service, apply, get
from services import a_service, with_token
from waiting import eventually

NAME = "embedding-model"


def limited_to(memory: str) -> dict[str, Any]:
    return {"limits": {"cpu": "1", "memory": memory}, "requests": {"cpu": "100m", "memory": "256Mi"}}


def test_a_low_memory_limit_is_a_warning_that_goes_when_it_is_raised(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, resources=limited_to("1150Mi")))
    service = Service(NAME, namespace)

    message = service.says("MemoryTooSmall", "MemoryTooSmall")
    assert "spec.resources.limits.memory is 1150Mi, but with 87Mi of weights the server needs 1187Mi" in message
    service.is_ready()
    assert service.says("MemoryTooSmall", "MemoryTooSmall") == message
    assert len(get(f"embeddingservice {NAME}", namespace)["status"]["model"]["revision"]) == 40

    apply(a_service(namespace, resources=limited_to("2Gi")))

    def is_gone() -> bool:
        conditions = get(f"embeddingservice {NAME}", namespace)["status"]["conditions"]
        return "MemoryTooSmall" not in [each["type"] for each in conditions]

    eventually("the warning is gone", is_gone)
