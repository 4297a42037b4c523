"""The vector that a service returns, as a client of the cluster gets it."""

import json
import urllib.request

from kube import Service, forwarded

__all__ = ["vector_of"]


def vector_of(service: Service, text: str = "A text like many others.") -> tuple[float, ...]:
    """Rounded, so that the vectors of equal models are equal."""
    body = json.dumps({"model": service.name, "input": text}).encode()
    with forwarded(f"service/{service.name}", 80, service.namespace) as url:
        request = urllib.request.Request(f"{url}/v1/embeddings", body, {"Content-Type": "application/json"})
        with urllib.request.urlopen(request, timeout=30) as answer:
            [found] = json.load(answer)["data"]
    return tuple(round(number, 4) for number in found["embedding"])
