"""Many services at once, without pods: what counts is when the operator is through with them."""

import json
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kube import get, sh
from services import PINNED, a_service
from waiting import eventually

__all__ = ["Fleet"]

MADE = "app.kubernetes.io/managed-by=embedding-operator"


@dataclass(frozen=True)
class Fleet:
    """Services of one namespace, by number."""

    namespace: str

    def create(self, numbers: Iterable[int]) -> None:
        """In one `kubectl apply`, in this order."""
        with self.being_created(numbers):
            pass

    @contextmanager
    def being_created(self, numbers: Iterable[int]) -> Iterator[None]:
        """The same, while something else happens; the operator is faster than kubectl."""
        items = []
        for number in numbers:
            one = a_service(self.namespace, model={"storageUri": PINNED, "tokenSecretRef": None}, replicas=0)
            items.append({**one, "metadata": {"name": f"service-{number}", "namespace": self.namespace}})
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        with ThreadPoolExecutor() as pool:
            applied = pool.submit(sh, "kubectl apply -f -", stdin=manifest)
            yield
            applied.result()

    def level(self) -> frozenset[str]:
        """The names of those whose status is about the present spec."""
        found = get("embeddingservices", self.namespace)["items"]
        return frozenset(each["metadata"]["name"] for each in found if _is_level(each))

    def is_level(self, count: int) -> None:
        """Wait until the operator is done with so many services: each has a Deployment, a Service, and a status of its
        present spec. What Kubernetes' own controllers then do may take longer.
        """

        def level() -> bool:
            made = [each["kind"] for each in get(f"deployments,services -l {MADE}", self.namespace)["items"]]
            return (len(self.level()), made.count("Deployment"), made.count("Service")) == (count, count, count)

        eventually(f"{count} services are level", level)

    def is_ready(self, count: int) -> None:
        """Wait until so many services are Ready, so that nothing is left to do."""

        def ready() -> int:
            found = get("embeddingservices", self.namespace)["items"]
            return sum(("Ready", "True") in _conditions(each) for each in found)

        eventually(f"{count} services are ready", lambda: ready() == count)


def _is_level(service: dict[str, Any]) -> bool:
    status = service.get("status") or {}
    of_this_spec = status.get("observedGeneration") == service["metadata"]["generation"]
    return bool(of_this_spec and _conditions(service))


def _conditions(service: dict[str, Any]) -> set[tuple[str, str]]:
    """Types and statuses."""
    return {(each["type"], each["status"]) for each in (service.get("status") or {}).get("conditions", ())}
