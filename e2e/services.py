"""Objects for the tests that need no manifest of the guide."""

from typing import Any

from kube import TOKEN, sh

__all__ = ["MINILM", "PINNED", "a_service", "with_token"]

MINILM = "hf://sentence-transformers/all-MiniLM-L6-v2"
PINNED = f"{MINILM}:{'0' * 40}"
"""A commit, which no Job has to find out: for services that have no pods."""


def a_service(
    namespace: str, *, args: tuple[str, ...] = (), model: dict[str, Any] | None = None, **spec: Any
) -> dict[str, Any]:
    """An EmbeddingService as one applies it, on the backend that starts faster, with the token of `with_token`."""
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "EmbeddingService",
        "metadata": {"name": "embedding-model", "namespace": namespace},
        "spec": {
            "model": {"storageUri": MINILM, "tokenSecretRef": {"name": "hf-secret"}, **(model or {})},
            "args": list(args),
            "backend": "huggingface",
            "resources": {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "100m", "memory": "256Mi"}},
            **spec,
        },
    }


def with_token(namespace: str, token: str = TOKEN) -> None:
    """The Secret that `a_service` names."""
    sh(f"kubectl create secret generic hf-secret -n {namespace} --from-literal=HF_TOKEN={token}")
