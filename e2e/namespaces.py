"""Namespaces for tests."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from kube import apply, sh

__all__ = ["a_namespace", "restrict"]

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Every namespace of these tests, the operator's too, takes only pods of the strictest Pod Security level."""


def restrict(namespace: str) -> None:
    """Make the namespace, or hold an existing one to that level."""
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}})


@contextmanager
def a_namespace() -> Iterator[str]:
    """A new one, deleted in the end."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    restrict(name)
    for made in ("serviceaccount/default", "configmap/kube-root-ca.crt"):  # each by a controller of the cluster
        sh(f"kubectl wait --for=create {made} -n {name} --timeout=180s")
    yield name
    sh(f"kubectl delete embeddingservices --all -n {name}")  # first: the operator has then no business there any more
    sh(f"kubectl delete namespace {name} --wait=false")
