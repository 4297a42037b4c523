"""The operator's pods: which of them leads, what it wrote, and its processes, for harm."""

import os
import re
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

import chart
from kube import audit_log, get, sh
from waiting import eventually

__all__ = [
    "NAMESPACE",
    "is_native",
    "leader",
    "lease_holder",
    "led_since",
    "pods",
    "process_of",
    "restart",
    "restarts",
    "signal_to",
    "writes_by",
]

NAMESPACE = chart.NAMESPACE


def is_native() -> bool:
    """The node's processes are this machine's, and may be signalled."""
    return sh("e2e/cluster/cluster driver").strip() == "native"


def pods() -> dict[str, str]:
    """UIDs of the operator's pods that are not on their way out, by name."""
    return {each["metadata"]["name"]: each["metadata"]["uid"] for each in _pods()}


def lease_holder(lease: str = "embedding-operator", namespace: str = NAMESPACE) -> str:
    """Name of the pod that has the Lease; empty: none."""
    spec = get(f"lease {lease}", namespace)["spec"]
    return str(spec.get("holderIdentity") or "").partition("_")[0]


def led_since() -> float:
    """When the pod that has the Lease took it, in seconds since the epoch."""
    return _epoch(get("lease embedding-operator", NAMESPACE)["spec"]["acquireTime"])


def leader() -> str:
    """Wait until one of the pods that are there leads; its name."""
    return eventually("a pod of the operator leads", lambda: (name := lease_holder()) in pods() and name)


def restart() -> None:
    """Returns when only new pods run, and one of them leads."""
    sh(f"kubectl rollout restart deployment/embedding-operator -n {NAMESPACE}")
    sh(f"kubectl rollout status deployment/embedding-operator -n {NAMESPACE} --timeout=300s")
    leader()


def restarts() -> dict[str, int]:
    """How often the containers of each pod of the operator were restarted."""
    return {
        each["metadata"]["name"]: sum(status["restartCount"] for status in each["status"]["containerStatuses"])
        for each in _pods()
    }


def signal_to(pod: str, number: signal.Signals) -> None:
    """Send a signal to the operator's process in that pod."""
    os.kill(process_of(pod), number)


def process_of(pod: str) -> int:
    """Its process, as this machine numbers it."""
    uid = pods()[pod].replace("-", "[-_]")
    for proc in Path("/proc").glob("[0-9]*"):
        try:
            is_of_pod = re.search(f"pod{uid}", (proc / "cgroup").read_text())
            command = (proc / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
        if is_of_pod and b"embedding_operator" in command.replace(b"-", b"_"):
            return int(proc.name)
    raise AssertionError(f"no process of pod {pod}")


def writes_by(pod: str, since: float = 0.0) -> Sequence[dict[str, Any]]:
    """The writes that a pod of the operator sent after that moment (seconds since the epoch), its Lease aside."""
    return [
        event
        for event in audit_log()
        if event["user"].get("extra", {}).get("authentication.kubernetes.io/pod-name") == [pod]
        and _epoch(event["requestReceivedTimestamp"]) > since
    ]


def _pods() -> list[dict[str, Any]]:
    found = get("pods -l app.kubernetes.io/instance=embedding-operator", NAMESPACE)["items"]
    return [each for each in found if "deletionTimestamp" not in each["metadata"]]


def _epoch(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
