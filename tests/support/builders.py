"""API objects as tests need them: `a_service(backend="vllm")` says what matters, the rest is as usual."""

import copy
import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

from embedding_operator.core.observed import Observed
from embedding_operator.core.quantity import amount
from embedding_operator.settings import Settings

__all__ = [
    "MINILM",
    "NOW",
    "SETTINGS",
    "Raw",
    "a_pod",
    "a_service",
    "a_storage_container",
    "an_observation",
    "as_live",
    "edited",
    "ended",
    "managed_fields",
    "running",
    "waiting",
]

Raw = dict[str, Any]

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)
MINILM = "hf://sentence-transformers/all-MiniLM-L6-v2"
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


def an_observation(
    *,
    storage_containers: Sequence[Raw] = (),
    deployments: Sequence[Raw] = (),
    services: Sequence[Raw] = (),
    pods: Sequence[Raw] = (),
    secrets: Mapping[str, frozenset[str] | None] | None = None,
) -> Observed:
    """A cluster with nothing in it but what is said."""
    return Observed.of(
        storage_containers=storage_containers,
        deployments=deployments,
        services=services,
        pods=pods,
        secrets=secrets or {},
    )


def as_live(applied: Raw) -> Raw:
    """What an API server gives back for an object that was applied: defaults filled in, amounts in its own way of
    writing, empty values left out."""
    live: Raw = _rewritten(copy.deepcopy(applied))
    live["metadata"] |= {
        "uid": "11fe",
        "resourceVersion": "7",
        "generation": 1,
        "managedFields": managed_fields(applied),
    }
    live["status"] = {}
    if live["kind"] == "Service":
        live["spec"] |= {"type": "ClusterIP", "clusterIP": "10.96.0.7", "sessionAffinity": "None"}
        return live
    live["spec"]["progressDeadlineSeconds"] = 600
    pod = live["spec"]["template"]["spec"]
    pod |= {"restartPolicy": "Always", "dnsPolicy": "ClusterFirst", "schedulerName": "default-scheduler"}
    for container in [*pod.get("initContainers", []), *pod["containers"]]:
        container |= {"terminationMessagePath": "/dev/termination-log"}
    return live


def edited(live: Raw, fields: Raw, *, manager: str = "kubectl-edit", **entry: Any) -> Raw:
    """The live object with one more entry in its managedFields: `fields`, in their form, belong to that manager."""
    more = {"manager": manager, "operation": "Update", "apiVersion": live["apiVersion"], "fieldsV1": fields, **entry}
    metadata = live["metadata"]
    return {**live, "metadata": {**metadata, "managedFields": [*metadata["managedFields"], more]}}


def managed_fields(applied: Raw) -> list[Raw]:
    """The managedFields of an object that the operator applied."""
    fields = _owned({key: value for key, value in applied.items() if key not in {"apiVersion", "kind"}})
    for name in ("name", "namespace"):
        fields["f:metadata"].pop(f"f:{name}", None)
    entry = {"manager": "embedding-operator", "operation": "Apply", "apiVersion": applied["apiVersion"]}
    return [{**entry, "fieldsType": "FieldsV1", "fieldsV1": fields}]


def _owned(value: Any, name: str = "") -> Raw:
    if isinstance(value, dict) and name not in {"selector", "secretKeyRef", "resourceFieldRef"}:
        return {f"f:{key}": _owned(each, key) for key, each in value.items()}
    keys = _LIST_KEYS.get(name)
    if keys is None:
        return {}
    items: Raw = {}
    for item in value:
        key = json.dumps({each: item[each] for each in keys if each in item}, separators=(",", ":"))
        items[f"k:{key}"] = {".": {}, **_owned(item)}
    return items


_LIST_KEYS = {
    **dict.fromkeys(("containers", "initContainers", "env", "volumes"), ("name",)),
    "ports": ("containerPort", "port", "protocol"),
    "volumeMounts": ("mountPath",),
    "ownerReferences": ("uid",),
}


def _rewritten(value: Any, key: str = "") -> Any:
    if isinstance(value, dict):
        if key in {"limits", "requests"}:
            return {name: _canonical(text) for name, text in value.items()}
        return {name: _rewritten(each, name) for name, each in value.items() if each not in ("", [])}
    return [_rewritten(each) for each in value] if isinstance(value, list) else value


def _canonical(text: str) -> str:
    number = amount(text)
    return str(number) if number.denominator == 1 else f"{round(number * Fraction(1000))}m"
