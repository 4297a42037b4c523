"""Parts of the cluster that are away for a while: of the native cluster alone, whose processes are this machine's."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

import operators
from kube import sh

__all__ = ["wait_through", "without", "without_network"]

API_SERVER = "10.96.0.1"
"""The address at which pods find the API server: the first of the Services' range, on either driver."""


@contextmanager
def without(component: str) -> Iterator[None]:
    """etcd or kube-apiserver is stopped; on the way out it answers again."""
    sh(f"e2e/cluster/cluster stop-component {component}")
    try:
        yield
    finally:
        sh(f"e2e/cluster/cluster start-component {component}")


@contextmanager
def without_network(pod: str) -> Iterator[None]:
    """A pod of the operator is cut from the API server: what it sends there is lost without a word."""
    enter = f"nsenter --net --target {operators.process_of(pod)}"
    rule = f"OUTPUT --destination {API_SERVER} --jump DROP"
    sh(f"{enter} iptables --insert {rule}")
    try:
        yield
    finally:
        sh(f"{enter} iptables --delete {rule}")


def wait_through(seconds: float) -> None:
    """Let an outage last: the one wait that is for a time and not for a condition."""
    subprocess.run(["sleep", str(max(seconds, 0))], check=True)
