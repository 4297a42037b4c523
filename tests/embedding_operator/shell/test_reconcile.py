"""One reconcile against an API server: what it reads, what it writes, and what is left when it fails half-way."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION
from embedding_operator.core.observed import ObjectRef
from embedding_operator.core.plan import Plan
from embedding_operator.errors import ClusterFault, Conflict, Denied, NameTaken, Unavailable
from embedding_operator.settings import Settings
from embedding_operator.shell.api import Api
from embedding_operator.shell.cluster import Cluster
from embedding_operator.shell.reconcile import RESYNC, Reconciler, key_of
from embedding_operator.shell.resources import (
    CLUSTER_STORAGE_CONTAINERS,
    DEPLOYMENTS,
    EMBEDDING_SERVICES,
    SERVICES,
    STORAGE_CONTAINERS,
)
from support.fake_kubernetes import Call, FakeKubernetes, fake_kubernetes

KEY = key_of(EMBEDDING_SERVICES, "default", "minilm")


def an_embedding_service(name: str = "minilm", namespace: str = "default", **model: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "EmbeddingService",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {"model": {"storageUri": "hf://sentence-transformers/all-MiniLM-L6-v2", **model}},
    }


def a_storage_container(kind: str, **metadata: str) -> dict[str, Any]:
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": {"name": "hub", **metadata}, "spec": {"container": {}}}


class World:
    """An API server and one reconciler, with the keys that it added to the queue."""

    def __init__(self, kubernetes: FakeKubernetes, api: Api, settings: Settings) -> None:
        self.kubernetes = kubernetes
        self.cluster = Cluster(api, settings, self.now)
        self.added: list[ObjectRef] = []
        self.reconcile = Reconciler(self.cluster, settings, self.now, self.added.append)

    @staticmethod
    def now() -> datetime:
        return datetime(2026, 1, 1, tzinfo=UTC)

    def conditions(self) -> dict[str, str]:
        service = self.kubernetes.get("embeddingservices", "minilm")
        assert service is not None
        return {each["type"]: each["reason"] for each in service["status"]["conditions"]}


@asynccontextmanager
async def a_world(*objects: dict[str, Any], settings: Settings | None = None) -> AsyncIterator[World]:
    async with fake_kubernetes() as kubernetes, kubernetes.client() as client:
        for obj in objects:
            kubernetes.put(obj)
        yield World(kubernetes, Api(client, timeout_seconds=5), settings or Settings())


async def test_a_service_gets_a_deployment_a_service_a_status_and_an_event() -> None:
    async with a_world(an_embedding_service()) as world:
        await world.reconcile(KEY)
    assert world.kubernetes.writes == [
        Call("patch", "deployments", "default", "minilm"),
        Call("patch", "services", "default", "minilm"),
        Call("update status", "embeddingservices", "default", "minilm"),
        Call("create", "events", "default"),
    ]
    (event,) = world.kubernetes.events
    assert (event["involvedObject"]["name"], event["source"]) == ("minilm", {"component": "embedding-operator"})


async def test_a_second_reconcile_of_the_same_state_writes_nothing() -> None:
    async with a_world(an_embedding_service()) as world:
        await world.reconcile(KEY)
        written = len(world.kubernetes.writes)
        await world.reconcile(KEY)
    assert len(world.kubernetes.writes) == written


async def test_what_somebody_changed_is_put_back() -> None:
    async with a_world(an_embedding_service()) as world:
        await world.reconcile(KEY)
        world.kubernetes.objects["deployments", "default", "minilm"]["spec"]["replicas"] = 7
        await world.reconcile(KEY)
        deployment = world.kubernetes.get("deployments", "minilm")
        assert deployment is not None
        assert deployment["spec"]["replicas"] == 1


async def test_what_somebody_added_is_taken_over_at_the_version_that_was_read_and_applied_away() -> None:
    async with a_world(an_embedding_service()) as world:
        await world.reconcile(KEY)
        deployment = world.kubernetes.objects["deployments", "default", "minilm"]
        entry = {"manager": "kubectl-edit", "operation": "Update", "fieldsV1": {"f:spec": {"f:paused": {}}}}
        deployment["metadata"]["managedFields"] = [entry]
        written = len(world.kubernetes.writes)
        await world.reconcile(KEY)
        assert [call.verb for call in world.kubernetes.writes[written:]] == ["update", "patch"]
        (ours,) = world.kubernetes.objects["deployments", "default", "minilm"]["metadata"]["managedFields"]
        assert (ours["manager"], ours["fieldsV1"]) == ("embedding-operator", {"f:spec": {"f:paused": {}}})


async def test_a_service_that_is_gone_or_going_needs_nothing() -> None:
    going = an_embedding_service()
    going["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    for objects in ([], [going]):
        async with a_world(*objects) as world:
            assert await world.reconcile(KEY) is None
        assert world.kubernetes.writes == []


async def test_a_service_deleted_mid_way_is_no_failure() -> None:
    async with a_world(an_embedding_service()) as world:
        world.kubernetes.before(
            "update status", "embeddingservices", lambda: world.kubernetes.remove("embeddingservices", "minilm")
        )
        await world.reconcile(KEY)
        assert world.kubernetes.get("embeddingservices", "minilm") is None


async def test_a_service_changed_mid_way_is_a_conflict_and_its_status_is_not_written() -> None:
    changed = an_embedding_service()
    changed["metadata"]["labels"] = {"changed": "meanwhile"}
    async with a_world(an_embedding_service()) as world:
        world.kubernetes.before("update status", "embeddingservices", lambda: world.kubernetes.put(changed))
        with pytest.raises(Conflict):
            await world.reconcile(KEY)
        service = world.kubernetes.get("embeddingservices", "minilm")
        assert service is not None
        assert "status" not in service
        await world.reconcile(KEY)
        assert world.conditions()["Accepted"] == "Accepted"


@pytest.mark.parametrize(
    ("verb", "plural"),
    [
        ("get", "embeddingservices"),
        ("list", "storagecontainers"),
        ("list", "clusterstoragecontainers"),
        ("list", "deployments"),
        ("list", "services"),
        ("list", "pods"),
        ("get", "deployments"),
        ("patch", "deployments"),
        ("patch", "services"),
        ("update status", "embeddingservices"),
    ],
)
@pytest.mark.parametrize(
    ("status", "fault"), [(500, Unavailable), (503, Unavailable), (429, Unavailable), (409, Conflict)]
)
async def test_any_call_that_fails_is_told_and_the_next_reconcile_completes_the_work(
    verb: str, plural: str, status: int, fault: type[ClusterFault]
) -> None:
    async with a_world(an_embedding_service()) as world:
        world.kubernetes.fail(verb, plural, status)
        with pytest.raises(fault):
            await world.reconcile(KEY)
        await world.reconcile(KEY)
        assert world.kubernetes.get("deployments", "minilm")
        assert world.kubernetes.get("services", "minilm")
        assert world.conditions()["Accepted"] == "Accepted"


async def test_an_event_that_cannot_be_made_costs_nothing_but_a_line_in_the_log(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with a_world(an_embedding_service()) as world:
        world.kubernetes.fail("create", "events", 403)
        await world.reconcile(KEY)
        assert world.conditions()["Accepted"] == "Accepted"
    assert "its Event could not be made: POST" in caplog.text


async def test_a_secret_is_read_only_when_it_is_named_and_of_it_only_the_names_of_its_keys() -> None:
    service = an_embedding_service(tokenSecretRef={"name": "hf-secret"})
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf-secret", "namespace": "default"}}
    async with a_world(service, {**secret, "data": {"HF_TOKEN": "aHVzaA=="}}) as world:
        await world.reconcile(KEY)
    assert [each for each in world.kubernetes.calls if each.plural == "secrets"] == [
        Call("get", "secrets", "default", "hf-secret")
    ]
    assert "aHVzaA" not in str(world.kubernetes.objects["deployments", "default", "minilm"])


async def test_a_missing_secret_is_waited_for_with_nothing_made_and_heals() -> None:
    async with a_world(an_embedding_service(tokenSecretRef={"name": "hf-secret"})) as world:
        assert await world.reconcile(KEY) == timedelta(seconds=10)
        assert world.conditions()["Ready"] == "SecretNotFound"
        assert world.kubernetes.get("deployments", "minilm") is None
        world.kubernetes.put(
            {
                "apiVersion": "v1",
                "kind": "Secret",
                "metadata": {"name": "hf-secret", "namespace": "default"},
                "data": {"HF_TOKEN": "aHVzaA=="},
            }
        )
        await world.reconcile(KEY)
        assert world.kubernetes.get("deployments", "minilm")


async def test_a_forbidden_secret_makes_nothing() -> None:
    async with a_world(an_embedding_service(tokenSecretRef={"name": "hf-secret"})) as world:
        world.kubernetes.fail("get", "secrets", 403)
        with pytest.raises(Denied, match="secrets/hf-secret: 403"):
            await world.reconcile(KEY)
        assert world.kubernetes.get("deployments", "minilm") is None


@pytest.mark.parametrize("resource", [DEPLOYMENTS, SERVICES])
async def test_an_object_of_that_name_that_is_another_s_is_left_alone(resource: Any) -> None:
    foreign = {"apiVersion": resource.api_version, "kind": resource.kind, "spec": {"of": "another"}}
    async with a_world(
        an_embedding_service(), {**foreign, "metadata": {"name": "minilm", "namespace": "default"}}
    ) as world:
        with pytest.raises(NameTaken, match=f"{resource.kind} default/minilm exists and does not belong to"):
            await world.reconcile(KEY)
        left = world.kubernetes.get(resource.plural, "minilm")
        assert left is not None
        assert left["spec"] == {"of": "another"}
        assert [call.plural for call in world.kubernetes.writes] == ["embeddingservices", "events"]
        assert world.conditions()["Ready"] == "NameTaken"


async def test_what_the_cluster_will_not_have_is_told_once_and_heals() -> None:
    async with a_world(an_embedding_service()) as world:
        world.kubernetes.fail("patch", "services", 403, times=2)
        for _ in range(2):
            with pytest.raises(Denied, match="services/minilm: 403"):
                await world.reconcile(KEY)
        assert world.conditions()["Ready"] == "Denied"
        assert [call.plural for call in world.kubernetes.writes if call.verb != "patch"] == [
            "embeddingservices",
            "events",
        ]
        await world.reconcile(KEY)
        assert world.conditions()["Accepted"] == "Accepted"


async def test_what_the_plan_deletes_is_deleted_and_may_be_gone_already() -> None:
    gone = ObjectRef("v1", "Service", "default", "gone")
    old = ObjectRef("v1", "Service", "default", "old")
    async with a_world(
        an_embedding_service(),
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "namespace": "default"}},
    ) as world:
        service = world.kubernetes.objects["embeddingservices", "default", "minilm"]
        await world.cluster.execute(service, Plan(delete=(gone, old)))
        assert world.kubernetes.get("services", "old") is None


async def test_an_object_made_again_under_the_name_of_one_to_delete_stays() -> None:
    again = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "old", "namespace": "default", "uid": "new"}}
    async with a_world(an_embedding_service(), again) as world:
        service = world.kubernetes.objects["embeddingservices", "default", "minilm"]
        await world.cluster.execute(service, Plan(delete=(ObjectRef("v1", "Service", "default", "old", uid="seen"),)))
        assert world.kubernetes.get("services", "old")


async def test_an_object_that_names_the_service_as_an_owner_but_not_as_its_controller_is_not_taken_over() -> None:
    async with a_world(an_embedding_service()) as world:
        uid = world.kubernetes.objects["embeddingservices", "default", "minilm"]["metadata"]["uid"]
        metadata = {"name": "minilm", "namespace": "default", "ownerReferences": [{"uid": uid}]}
        world.kubernetes.put({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"of": "another"}})
        with pytest.raises(NameTaken):
            await world.reconcile(KEY)


async def test_a_status_that_lost_a_field_loses_it_in_the_cluster() -> None:
    async with a_world({**an_embedding_service(), "status": {"url": "http://old", "conditions": []}}) as world:
        service = world.kubernetes.objects["embeddingservices", "default", "minilm"]
        await world.cluster.execute(service, Plan(status={"replicas": 1}))
        now = world.kubernetes.objects["embeddingservices", "default", "minilm"]
        assert now["status"] == {"replicas": 1}
        assert now["spec"] == service["spec"]


@pytest.mark.parametrize(
    ("resource", "namespace", "concerned"),
    [(CLUSTER_STORAGE_CONTAINERS, None, {"default", "other"}), (STORAGE_CONTAINERS, "default", {"default"})],
)
async def test_a_change_of_a_storage_container_concerns_the_services_that_could_use_it(
    resource: Any, namespace: str | None, concerned: set[str]
) -> None:
    metadata = {"namespace": namespace} if namespace else {}
    async with a_world(
        an_embedding_service(),
        an_embedding_service(namespace="other"),
        a_storage_container(resource.kind, **metadata),
    ) as world:
        await world.reconcile(key_of(resource, namespace, "hub"))
        status = world.kubernetes.objects[resource.plural, namespace, "hub"]["status"]
        assert {each.namespace for each in world.added} == concerned
        assert status["conditions"][0]["type"] == "Accepted"

        written = len(world.kubernetes.writes)
        await world.reconcile(key_of(resource, namespace, "hub"))
        assert len(world.kubernetes.writes) == written

        world.kubernetes.remove(resource.plural, "hub", namespace)
        world.added.clear()
        await world.reconcile(key_of(resource, namespace, "hub"))
        assert {each.namespace for each in world.added} == concerned


async def test_a_resync_looks_at_everything_and_comes_again() -> None:
    objects = [an_embedding_service(), a_storage_container("ClusterStorageContainer")]
    async with a_world(*objects, settings=Settings(resync_seconds=300)) as world:
        assert await world.reconcile(RESYNC) == timedelta(seconds=300)
        assert world.kubernetes.writes == []
    assert {each.kind for each in world.added} == {"EmbeddingService", "ClusterStorageContainer"}


async def test_an_operator_of_some_namespaces_asks_for_no_others() -> None:
    objects = [an_embedding_service(), an_embedding_service(namespace="other")]
    async with a_world(*objects, settings=Settings(namespaces=("default",))) as world:
        await world.reconcile(RESYNC)
    assert [each.namespace for each in world.added] == ["default"]
    asked = {each.namespace for each in world.kubernetes.calls if each.plural != "clusterstoragecontainers"}
    assert asked == {"default"}
