"""Calls to the API server: each answer is what was asked for, or a fault that says when to try again."""

from collections.abc import AsyncIterator
from typing import Any

import pytest

from embedding_operator.errors import ClusterFault, Conflict, Denied, LeaseLost, NotFound, Unavailable
from embedding_operator.shell.api import Api
from embedding_operator.shell.resources import EMBEDDING_SERVICES, PODS, SECRETS, SERVICES
from support.fake_kubernetes import Call, FakeKubernetes, fake_kubernetes


@pytest.fixture
async def kubernetes() -> AsyncIterator[FakeKubernetes]:
    async with fake_kubernetes() as fake:
        yield fake


@pytest.fixture
async def api(kubernetes: FakeKubernetes) -> AsyncIterator[Api]:
    async with kubernetes.client() as client:
        yield Api(client, timeout_seconds=5)


def a_service(**metadata: Any) -> dict[str, Any]:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "a", "namespace": "default", **metadata}}


async def test_apply_makes_an_object_and_applying_it_again_changes_nothing(
    kubernetes: FakeKubernetes, api: Api
) -> None:
    first = await api.apply(SERVICES, a_service())
    assert await api.apply(SERVICES, a_service()) == first
    assert kubernetes.writes == [Call("patch", "services", "default", "a")] * 2


async def test_items_of_a_list_say_what_they_are(kubernetes: FakeKubernetes, api: Api) -> None:
    del kubernetes.put(a_service())["kind"]
    assert [(each["apiVersion"], each["kind"]) for each in await api.find(SERVICES, "default")] == [("v1", "Service")]


async def test_only_objects_with_the_label_are_found(kubernetes: FakeKubernetes, api: Api) -> None:
    kubernetes.put(a_service(labels={"of": "x"}))
    kubernetes.put(a_service(name="b", labels={"of": "y"}))
    kubernetes.put(a_service(name="c"))
    assert [each["metadata"]["name"] for each in await api.find(SERVICES, "default", labels="of=x")] == ["a"]


async def test_a_replacement_of_what_has_changed_is_a_conflict(kubernetes: FakeKubernetes, api: Api) -> None:
    kind = {"apiVersion": EMBEDDING_SERVICES.api_version, "kind": EMBEDDING_SERVICES.kind}
    read = kubernetes.put({**a_service(), **kind})
    kubernetes.put({**a_service(labels={"changed": "by another"}), **kind})
    with pytest.raises(Conflict):
        await api.replace(EMBEDDING_SERVICES, {**read, "status": {}}, subresource="status")


async def test_a_deletion_is_of_the_object_with_that_uid_alone(kubernetes: FakeKubernetes, api: Api) -> None:
    kubernetes.put(a_service(uid="theirs"))
    with pytest.raises(Conflict, match="precondition"):
        await api.delete(SERVICES, "default", "a", uid="ours")
    await api.delete(SERVICES, "default", "a", uid="theirs")
    assert kubernetes.get("services", "a") is None


async def test_a_missing_object_is_not_found(api: Api) -> None:
    with pytest.raises(NotFound, match="'nowhere' not found"):
        await api.get(SERVICES, "default", "nowhere")


@pytest.mark.parametrize(
    ("status", "fault", "seconds"),
    [
        (400, Denied, 60),
        (401, Unavailable, None),
        (403, Denied, 60),
        (404, NotFound, None),
        (409, Conflict, 0),
        (410, Unavailable, None),
        (422, Denied, 60),
        (429, Unavailable, None),
        (500, Unavailable, None),
        (503, Unavailable, None),
        (504, Unavailable, None),
    ],
)
async def test_each_failure_says_what_came_back_and_when_to_try_again(
    kubernetes: FakeKubernetes, api: Api, status: int, fault: type[ClusterFault], seconds: float | None
) -> None:
    kubernetes.fail("get", "secrets", status)
    with pytest.raises(fault, match=f"GET /api/v1/namespaces/default/secrets/s: {status} made to fail") as raised:
        await api.get(SECRETS, "default", "s")
    assert raised.value.retry_after == seconds


async def test_a_server_that_names_a_time_is_believed(kubernetes: FakeKubernetes, api: Api) -> None:
    kubernetes.fail("list", "pods", 429, retry_after=7)
    with pytest.raises(Unavailable) as raised:
        await api.find(PODS, "default")
    assert raised.value.retry_after == 7


async def test_no_answer_in_time_is_a_fault_not_a_wait(kubernetes: FakeKubernetes) -> None:
    kubernetes.hang("get", "secrets")
    async with kubernetes.client() as client:
        with pytest.raises(Unavailable, match="no answer in time"):
            await Api(client, timeout_seconds=0.05).get(SECRETS, "default", "s")


async def test_a_server_that_is_not_there_is_a_fault(kubernetes: FakeKubernetes) -> None:
    kubernetes.configuration.host = "http://127.0.0.1:1"
    async with kubernetes.client() as client:
        with pytest.raises(Unavailable, match="GET /api/v1"):
            await Api(client, timeout_seconds=5).get(SECRETS, "default", "s")


async def test_nothing_is_written_when_leading_has_ended(kubernetes: FakeKubernetes) -> None:
    async with kubernetes.client() as client:
        api = Api(client, timeout_seconds=5, may_write=lambda: False)
        assert await api.find(SERVICES, "default") == []
        for write in (
            api.apply(SERVICES, a_service()),
            api.delete(SERVICES, "default", "a"),
            api.replace(EMBEDDING_SERVICES, a_service(), subresource="status"),
        ):
            with pytest.raises(LeaseLost):
                await write
    assert kubernetes.writes == []


async def test_a_call_that_the_chart_gives_no_right_to_is_not_made(kubernetes: FakeKubernetes, api: Api) -> None:
    with pytest.raises(ValueError, match="no right to list secrets"):
        await api.find(SECRETS, "default")
    with pytest.raises(ValueError, match="no right to update pods"):
        await api.replace(PODS, a_service())
    assert kubernetes.calls == []


async def test_a_missing_custom_resource_is_noticed(kubernetes: FakeKubernetes, api: Api) -> None:
    kubernetes.unknown = {"storagecontainers"}
    assert await api.served("serving.embeddings.dev", "v1alpha1") == {"clusterstoragecontainers", "embeddingservices"}
    assert await api.served("nobody.example", "v1") == set()
