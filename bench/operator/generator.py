"""Creates the objects of the benchmark, all with its label, and deletes them."""

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from bench.operator.client import Client, Json, RequestFailed

__all__ = [
    "HOME",
    "LABEL",
    "SERVICES",
    "create_foreign",
    "create_namespaces",
    "create_services",
    "delete_all",
    "edit_storage_container",
    "is_fetched_by_ours",
    "missing",
]

LABEL = "bench.serving.embeddings.dev/scale"
HOME = "bench-operator"
"""Namespace of the Lease, name of the storage container, and prefix of the other namespaces."""
SERVICES = "/apis/serving.embeddings.dev/v1alpha1/embeddingservices"

_GROUP = "/apis/serving.embeddings.dev/v1alpha1"
_CONTAINERS = f"{_GROUP}/clusterstoragecontainers"
_NAMESPACES = "/api/v1/namespaces"
_NUMBER_OF_NAMESPACES = 50
_NUMBER_OF_FOREIGN_NAMESPACES = 10
_PREFIX = "hf://bench-operator/"
_OTHERS = "hf://bench-others/"
_COMMIT = "c9745ed1d9f207416be6d2e6f8de32d1f16199bf"
"""A URI without one would need a Job, whose pod no node of the benchmark runs."""
_AT_ONCE = 16
_LOOK_EVERY = 5.0

Say = Callable[[str], None]


def is_fetched_by_ours(index: int) -> bool:
    """Three services in ten have a URI that the storage container claims."""
    return index % 10 < 3  # noqa: PLR2004 as the docstring says


async def missing(client: Client) -> str | None:
    """Why the cluster cannot be measured, and what to do; None if it can."""
    try:
        await client.get(SERVICES, limit="1")
    except RequestFailed as error:
        return f"the CRDs are not installed ({error}): kubectl apply -f crds/"
    query = {"labelSelector": "app.kubernetes.io/name=embedding-operator"}
    for each in (await client.get("/apis/apps/v1/deployments", **query))["items"]:
        if each["spec"]["replicas"]:
            where = f"-n {each['metadata']['namespace']} {each['metadata']['name']}"
            return f"another operator runs on this cluster: kubectl scale --replicas=0 deployment {where}"
    return None


async def create_namespaces(client: Client) -> None:
    """Create the namespaces, and the storage container, which has none."""
    names = [HOME, *(_namespace(index) for index in range(_NUMBER_OF_NAMESPACES))]
    await _all(client.create(_NAMESPACES, _object("v1", "Namespace", name)) for name in names)
    await client.create(_CONTAINERS, _storage_container("first"))


async def create_services(client: Client, first: int, last: int) -> None:
    """Create services `first` to `last` (exclusive) as fast as the API server accepts them."""
    await _all(
        client.create(f"{_GROUP}/namespaces/{_namespace(index)}/embeddingservices", _service(index))
        for index in range(first, last)
    )


async def edit_storage_container(client: Client, marker: str) -> None:
    """Change a variable of every initializer that the storage container describes."""
    spec = _storage_container(marker)["spec"]
    await client.merge(f"{_CONTAINERS}/{HOME}", {"spec": {"container": spec["container"]}})


async def create_foreign(client: Client, number: int) -> None:
    """Create Secrets, ConfigMaps and unscheduled pods, a third each, in separate namespaces."""
    namespaces = [f"{HOME}-foreign-{index}" for index in range(_NUMBER_OF_FOREIGN_NAMESPACES)]
    await _all(client.create(_NAMESPACES, _object("v1", "Namespace", name)) for name in namespaces)
    await _all(_service_account(client, name) for name in namespaces)

    async def create(index: int) -> None:
        path = f"{_NAMESPACES}/{namespaces[index % len(namespaces)]}"
        plural, obj = _foreign(index)
        await client.create(f"{path}/{plural}", obj)

    await _all(create(index) for index in range(number))


async def delete_all(client: Client, say: Say) -> None:
    """Delete every object with the label, of this run or an earlier one, and wait until they are gone."""
    await client.delete(f"{_CONTAINERS}/{HOME}")
    found = (await client.get(_NAMESPACES, labelSelector=LABEL))["items"]
    await _all(client.delete(f"{_NAMESPACES}/{each['metadata']['name']}") for each in found)
    while left := (await client.get(_NAMESPACES, labelSelector=LABEL))["items"]:
        say(f"{len(left)} namespaces are being deleted")
        await asyncio.sleep(_LOOK_EVERY)


async def _service_account(client: Client, namespace: str) -> None:
    """Wait for the one that every pod needs."""
    while True:
        try:
            await client.get(f"{_NAMESPACES}/{namespace}/serviceaccounts/default")
        except RequestFailed:
            await asyncio.sleep(0.2)
        else:
            return


async def _all(work: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Runs a few at a time; the first failure cancels the others."""
    waiting = iter(work)

    async def one_by_one() -> None:
        for each in waiting:
            await each

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(one_by_one())


def _namespace(index: int) -> str:
    return f"{HOME}-{index % _NUMBER_OF_NAMESPACES:02d}"


def _object(api_version: str, kind: str, name: str, **fields: Any) -> Json:
    return {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, "labels": {LABEL: ""}}, **fields}


def _service(index: int) -> Json:
    uri = f"{_PREFIX if is_fetched_by_ours(index) else _OTHERS}model-{index}:{_COMMIT}"
    spec = {"model": {"storageUri": uri}, "backend": "huggingface", "replicas": 0}
    return _object("serving.embeddings.dev/v1alpha1", "EmbeddingService", f"embedding-{index}", spec=spec)


def _storage_container(marker: str) -> Json:
    spec = {
        "container": {"env": [{"name": "BENCH_MARKER", "value": marker}]},
        "supportedUriFormats": [{"prefix": _PREFIX}],
    }
    return _object("serving.embeddings.dev/v1alpha1", "ClusterStorageContainer", HOME, spec=spec)


def _foreign(index: int) -> tuple[str, Json]:
    """A plural and an object. Equal remainders of both moduli would put one kind into one namespace: 3 and 10."""
    name = f"foreign-{index}"
    if index % 3 == 0:
        return "secrets", _object("v1", "Secret", name, stringData={"token": "x" * 100})
    if index % 3 == 1:
        return "configmaps", _object("v1", "ConfigMap", name, data={"text": "x" * 1000})
    spec = {
        "schedulingGates": [{"name": LABEL}],  # unlike a node selector, it costs the scheduler nothing
        "containers": [{"name": "none", "image": "none"}],
    }
    return "pods", _object("v1", "Pod", name, spec=spec)
