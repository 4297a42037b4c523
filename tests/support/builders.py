"""API objects as tests need them: `a_service(backend="vllm")` sets what matters, and the rest has defaults."""

import copy
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from embedding_operator.core import storage
from embedding_operator.core.quantity import amount
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.settings import Settings

__all__ = [
    "COMMIT",
    "MINILM",
    "NOW",
    "SETTINGS",
    "Raw",
    "a_pod",
    "a_pod_of",
    "a_service",
    "a_snapshot",
    "a_storage_container",
    "as_live",
    "ended",
    "running",
    "waiting",
]

Raw = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
MINILM = f"hf://sentence-transformers/all-MiniLM-L6-v2:{COMMIT}"
SETTINGS = Settings(
    runtime_images={"cpu": "runtime:cpu", "nvidia.com/gpu": "runtime:cuda"}, storage_image="storage:test"
)


def a_service(
    *, name: str = "embedding-model", model: Raw | None = None, status: Raw | None = None, **spec: Any
) -> Raw:
    """An EmbeddingService as the API server gives it. `model` goes over a model of the right shape."""
    metadata = {"name": name, "namespace": "default", "uid": "5eed", "generation": 1}
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "EmbeddingService",
        "metadata": metadata,
        "spec": {"model": {"storageUri": MINILM, **(model or {})}, **spec},
        **({"status": status} if status is not None else {}),
    }


def a_storage_container(
    name: str = "hf-hub",
    *,
    namespace: str | None = None,
    prefixes: Sequence[str] = (),
    regexes: Sequence[str] = (),
    container: Raw | None = None,
    **fields: Any,
) -> Raw:
    """A ClusterStorageContainer; with a namespace, a StorageContainer."""
    formats = [*({"prefix": each} for each in prefixes), *({"regex": each} for each in regexes)]
    return {
        "apiVersion": "serving.embeddings.dev/v1alpha1",
        "kind": "StorageContainer" if namespace else "ClusterStorageContainer",
        "metadata": {"name": name, "generation": 1, **({"namespace": namespace} if namespace else {})},
        "spec": {"container": container or {}, **({"supportedUriFormats": formats} if formats else {})},
        **fields,
    }


def running(*, ready: bool = False, restarts: int = 0, last: Raw | None = None) -> Raw:
    """The status of a container that runs; `last` is how it ended before, as `ended(...)` has it."""
    state = {"state": {"running": {}}, "ready": ready, "restartCount": restarts}
    return {**state, "lastState": last["state"]} if last else state


def waiting(reason: str, message: str = "", *, restarts: int = 0, last: Raw | None = None) -> Raw:
    """The status of a container that does not run yet, or not any more."""
    state = {"state": {"waiting": {"reason": reason, "message": message}}, "restartCount": restarts}
    return {**state, "lastState": last["state"]} if last else state


def ended(exit_code: int = 0, message: str = "", *, reason: str | None = None, restarts: int = 0) -> Raw:
    """The status of a container that ended."""
    terminated = {"exitCode": exit_code, "reason": reason or ("Error" if exit_code else "Completed")}
    return {
        "state": {"terminated": {**terminated, "message": message}},
        "ready": not exit_code,
        "restartCount": restarts,
    }


def a_pod(
    template: str | None,
    *,
    name: str = "embedding-model-1",
    initializer: Raw | None = None,
    server: Raw | None = None,
    unschedulable: str | None = None,
    deleting: bool = False,
) -> Raw:
    """A pod made from the template of that digest; it is ready when its server is."""
    scheduled = {"type": "PodScheduled", "status": "True"}
    if unschedulable is not None:
        scheduled |= {"status": "False", "reason": "Unschedulable", "message": unschedulable}
    ready = {"type": "Ready", "status": str(bool(server and server.get("ready")))}
    return {
        "metadata": {
            "name": name,
            "annotations": {"serving.embeddings.dev/template": template},
            **({"deletionTimestamp": "2026-03-01T11:59:00Z"} if deleting else {}),
        },
        "status": {
            "phase": "Running" if server else "Pending",
            "conditions": [scheduled, ready],
            "initContainerStatuses": [{"name": "storage-initializer", **initializer}] if initializer else [],
            "containerStatuses": [{"name": "server", **server}] if server else [],
        },
    }


def a_pod_of(deployment: Raw) -> Raw:
    """As the ReplicaSet controller makes one of a Deployment in the fake API server."""
    template = deployment["spec"]["template"]
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "controller": True}
    owner["uid"] = deployment["metadata"]["uid"]  # the fake API server knows no ReplicaSets, and would collect the pod
    owner["name"] = f"{deployment['metadata']['name']}-abc"
    metadata = {**template["metadata"], "name": f"{owner['name']}-0", "namespace": "default"}
    metadata["labels"] = {**metadata["labels"], "pod-template-hash": "abc"}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {**metadata, "ownerReferences": [owner]},
        "spec": template["spec"],
        "status": {"phase": "Pending"},
    }


def a_snapshot(
    service: Raw,
    *storage_containers: Raw,
    secrets: Mapping[str, frozenset[str] | None] | None = None,
    unlabelled_secrets: frozenset[str] = frozenset(),
) -> Snapshot:
    """A service, and a cluster with these storage containers and Secrets; nothing was created for it yet."""
    return Snapshot(
        service,
        storage_containers=tuple(map(storage.read, storage_containers)),
        secrets=secrets or {},
        unlabelled_secrets=unlabelled_secrets,
    )


def as_live(applied: Raw) -> Raw:
    """What an API server gives back for an object that was applied: defaults filled in, amounts in its own way of
    writing, empty values left out."""
    live: Raw = _rewritten(copy.deepcopy(applied))
    live["metadata"] |= {"uid": "11fe", "resourceVersion": "7", "generation": 1, "managedFields": [{"manager": "x"}]}
    live["status"] = {}
    if live["kind"] in {"PodDisruptionBudget", "PersistentVolumeClaim"}:
        return live
    if live["kind"] == "Service":
        live["spec"] |= {"type": "ClusterIP", "clusterIP": "10.96.0.7", "sessionAffinity": "None"}
        return live
    live["spec"].setdefault("progressDeadlineSeconds", 600)
    pod = live["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        container |= {"terminationMessagePath": "/dev/termination-log"}
    return live


def _rewritten(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if key in {"limits", "requests"}:
            return {name: _canonical(text) for name, text in value.items()}
        return {name: _rewritten(each, name) for name, each in value.items() if each not in ("", [])}
    return [_rewritten(each) for each in value] if isinstance(value, list) else value


def _canonical(text: str) -> str:
    number = amount(text)
    return str(number) if number.denominator == 1 else f"{round(number * Fraction(1000))}m"
