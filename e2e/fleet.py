"""Many services at once, without pods: what counts is when the operator is through with them."""

import json
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass

from kube import get, sh
from services import a_service
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
            one = a_service(self.namespace, model={"tokenSecretRef": None}, replicas=0)
            items.append({**one, "metadata": {"name": f"service-{number}", "namespace": self.namespace}})
        manifest = json.dumps({"apiVersion": "v1", "kind": "List", "items": items})
        with ThreadPoolExecutor() as pool:
            applied = pool.submit(sh, "kubectl apply -f -", stdin=manifest)
            yield
            applied.result()

    def level(self) -> frozenset[str]:
        """The names of those whose status is about the present spec and says that nothing is left to do."""
        found = get("embeddingservices", self.namespace)["items"]
        return frozenset(each["metadata"]["name"] for each in found if _is_level(each))

    def is_level(self, count: int, *, within: float) -> float:
        """Wait until so many services, with a Deployment and a Service each, are level; the seconds it took."""
        began = time.monotonic()
        eventually(f"{count} services are level", lambda: len(self.level()) == count, within=within)
        took = time.monotonic() - began
        made = [each["kind"] for each in get(f"deployments,services -l {MADE}", self.namespace)["items"]]
        assert (made.count("Deployment"), made.count("Service")) == (count, count)
        return took


def _is_level(service: dict[str, dict[str, object]]) -> bool:
    status = service.get("status") or {}
    conditions = status.get("conditions")
    reasons = {each["reason"] for each in conditions} if isinstance(conditions, list) else set()
    return "ScaledToZero" in reasons and status.get("observedGeneration") == service["metadata"]["generation"]
