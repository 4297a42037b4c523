"""The whole operator against an API server: watches, workers and Lease together."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION, SERVICE_LABEL
from embedding_operator.errors import LeaseLost
from embedding_operator.settings import Settings
from embedding_operator.shell import run
from embedding_operator.shell.resources import OURS, OWNED, RESOURCES
from support.clock import eventually
from support.fake_kubernetes import Call, FakeKubernetes, fake_kubernetes

WATCHED = [resource.plural for resource in (*OURS, *OWNED)]


def an_embedding_service(name: str = "minilm", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "EmbeddingService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"storageUri": "hf://sentence-transformers/all-MiniLM-L6-v2"}, **spec},
    }


def a_lease(holder: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": "embedding-operator", "namespace": "default"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": 15},
    }


class Running:
    """An operator at work, and the API server that it works on."""

    def __init__(self, kubernetes: FakeKubernetes, settings: Settings) -> None:
        self.kubernetes = kubernetes
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(run.operate(settings, kubernetes.configuration, self._stop))

    async def stop(self) -> None:
        self._stop.set()
        await self.task

    async def watches(self) -> None:
        await eventually(lambda: all(self.kubernetes.watches(each) for each in WATCHED))

    async def has_served(self) -> None:
        """Until a service has all that it needs; the Event is the last."""
        await self.watches()
        await eventually(lambda: self.kubernetes.events)

    async def renewals(self, number: int) -> None:
        """Until the Lease was renewed so often: the clock of a world where nothing else happens."""
        until = self.renewed + number
        await eventually(lambda: self.renewed >= until)

    @property
    def renewed(self) -> int:
        return self.kubernetes.calls.count(Call("update", "leases", "default", "embedding-operator"))

    @property
    def asked(self) -> list[Call]:
        return [call for call in self.kubernetes.calls if call.plural != "leases"]

    @property
    def written(self) -> list[Call]:
        return [call for call in self.kubernetes.writes if call.plural != "leases"]


@asynccontextmanager
async def an_operator(*objects: dict[str, Any], unknown: set[str] | None = None) -> AsyncIterator[Running]:
    async with fake_kubernetes() as kubernetes:
        kubernetes.unknown = unknown or set()
        for obj in objects:
            kubernetes.put(obj)
        running = Running(kubernetes, Settings(lease_seconds=5))
        try:
            yield running
        finally:
            running.task.cancel()
            await asyncio.wait({running.task})


async def test_services_that_are_there_at_the_start_are_served() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await eventually(lambda: operator.kubernetes.get("services", "minilm"))


async def test_a_service_that_comes_later_is_served() -> None:
    async with an_operator() as operator:
        await operator.watches()
        operator.kubernetes.put(an_embedding_service())
        await eventually(lambda: operator.kubernetes.get("services", "minilm"))


@pytest.mark.parametrize("plural", ["deployments", "services"])
async def test_what_somebody_deletes_comes_back(plural: str) -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.has_served()
        operator.kubernetes.remove(plural, "minilm")
        await eventually(lambda: operator.kubernetes.get(plural, "minilm"))


async def test_a_pod_that_changes_has_its_service_looked_at() -> None:
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"namespace": "default", "labels": {SERVICE_LABEL: "minilm"}}}
    pod["metadata"]["name"] = "minilm-0"  # type: ignore[index]
    async with an_operator(an_embedding_service()) as operator:
        await operator.has_served()
        looks = operator.asked.count(Call("get", "embeddingservices", "default", "minilm"))
        operator.kubernetes.put(pod)
        await eventually(lambda: operator.asked.count(Call("get", "embeddingservices", "default", "minilm")) > looks)


async def test_a_watch_that_is_cut_is_taken_up_again() -> None:
    async with an_operator() as operator:
        await operator.watches()
        operator.kubernetes.cut_watches()
        await eventually(lambda: not any(operator.kubernetes.watches(each) for each in WATCHED))
        await operator.watches()
        operator.kubernetes.put(an_embedding_service())
        await eventually(lambda: operator.kubernetes.get("services", "minilm"))


async def test_neither_the_operator_nor_kopf_writes_anything_when_nothing_changes() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.has_served()
        await operator.renewals(2)
        written, service = operator.written, operator.kubernetes.get("embeddingservices", "minilm")
        await operator.renewals(2)
        assert operator.written == written
        assert service is operator.kubernetes.get("embeddingservices", "minilm")
        assert service is not None
        assert set(service["metadata"]) == {"name", "namespace", "uid", "generation", "resourceVersion"}


async def test_without_the_lease_nothing_is_watched_and_nothing_written() -> None:
    async with an_operator(an_embedding_service(), a_lease("another")) as operator:
        await eventually(
            lambda: operator.kubernetes.calls.count(Call("get", "leases", "default", "embedding-operator")) > 2
        )
        assert operator.asked == []
        assert operator.kubernetes.writes == []


async def test_a_clean_stop_gives_the_lease_back() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.has_served()
        await operator.stop()
        lease = operator.kubernetes.get("leases", "embedding-operator")
        assert lease is not None
        assert lease["spec"]["holderIdentity"] == ""


async def test_a_lease_that_went_to_another_ends_the_process_and_is_left_to_it() -> None:
    async with an_operator() as operator:
        await operator.watches()
        given = operator.kubernetes.put(a_lease("another"))
        with pytest.raises(ExceptionGroup) as raised:
            await operator.task
        assert raised.group_contains(LeaseLost, match="went to another")
        assert operator.kubernetes.get("leases", "embedding-operator") is given


async def test_custom_resources_that_are_not_there_yet_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "_PAUSE", 0.01)
    async with an_operator(an_embedding_service(), unknown={"embeddingservices", "storagecontainers"}) as operator:
        await eventually(lambda: "does not know embeddingservices, storagecontainers yet" in caplog.text)
        assert operator.asked == []
        operator.kubernetes.unknown = set()
        await eventually(lambda: operator.kubernetes.get("services", "minilm"))


async def test_every_right_that_the_operator_asks_for_is_used() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "default"}}
    model = {"storageUri": "hf://a/b", "tokenSecretRef": {"name": "token"}}
    containers = [
        {"apiVersion": API_VERSION, "kind": "StorageContainer", "metadata": {"name": "a", "namespace": "default"}},
        {"apiVersion": API_VERSION, "kind": "ClusterStorageContainer", "metadata": {"name": "a"}},
    ]
    service = an_embedding_service(model=model)
    service["metadata"]["uid"] = "5eed"
    children = {
        "namespace": "default",
        "labels": {SERVICE_LABEL: "minilm"},
        "ownerReferences": [{"uid": "5eed", "controller": True}],
        "managedFields": [{"manager": "kubectl-edit", "fieldsV1": {"f:spec": {"f:added": {}}}}],
    }
    owned = [  # one to update, one to delete
        {"apiVersion": api_version, "kind": kind, "metadata": {"name": name, **children}}
        for api_version, kind in (("apps/v1", "Deployment"), ("v1", "Service"))
        for name in ("minilm", "old")
    ]
    async with an_operator(
        {**secret, "data": {"HF_TOKEN": ""}},
        service,
        *({**each, "spec": {"container": {}}} for each in containers),
        *owned,
    ) as operator:
        await operator.has_served()
        await operator.stop()
        used = {(call.plural, call.verb.removesuffix(" scale")) for call in operator.kubernetes.calls}
    # A patch of what is not there is checked as `create` too.
    made = {(each.plural, "create") for each in OWNED if "create" in each.verbs}
    assert used | made == {(each.plural, verb) for each in RESOURCES.values() for verb in each.verbs}
