"""Calls to the API server: each answer is what was asked for, or a fault that says who refused and what to do."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest

from embedding_operator.core.objects import ObjectRef
from embedding_operator.errors import (
    AlreadyExists,
    ClusterFault,
    Conflict,
    Denied,
    Expired,
    LeaseLost,
    NotFound,
    Unavailable,
)
from embedding_operator.kinds import DEPLOYMENT, EVENT, POD, SECRET, SERVICE
from embedding_operator.shell import client as client_module
from embedding_operator.shell.client import Client
from embedding_operator.shell.connection import Connection, open_connection
from support.fake_api import FakeApi, fake_api


@pytest.fixture
async def api() -> AsyncIterator[FakeApi]:
    async with fake_api() as fake:
        yield fake


@pytest.fixture
async def client(api: FakeApi) -> AsyncIterator[Client]:
    async with a_client(api) as client:
        yield client


@asynccontextmanager
async def a_client(api: FakeApi, *, timeout_seconds: float = 5, **options: Any) -> AsyncIterator[Client]:
    async with open_connection(api.configuration) as connection:
        yield Client(connection, timeout_seconds=timeout_seconds, **options)


@pytest.mark.parametrize(("minor", "version"), [("35", (1, 35)), ("36+", (1, 36))])
async def test_the_version_of_the_api_server_is_two_numbers(
    api: FakeApi, client: Client, minor: str, version: tuple[int, int]
) -> None:
    api.version["minor"] = minor
    assert await client.server_version() == version


@pytest.mark.parametrize("answer", [{}, {"major": "1", "minor": "x"}, {"major": 1, "minor": 35}])
async def test_a_version_that_cannot_be_read_is_asked_for_again(api: FakeApi, client: Client, answer: Any) -> None:
    api.version = answer
    with pytest.raises(Unavailable, match=r"The API server's version cannot be read: \{"):
        await client.server_version()


def a_service(name: str = "a", **metadata: Any) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": "default", **metadata},
        "spec": {"ports": [{"port": 80}], "selector": {"app": name}},
    }


def a_deployment(name: str = "a") -> dict[str, Any]:
    labels = {"app": name}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}},
        },
    }


def ref_of(raw: dict[str, Any]) -> ObjectRef:
    meta = raw["metadata"]
    return ObjectRef(raw["apiVersion"], raw["kind"], meta["namespace"], meta["name"], meta["uid"])


async def test_an_object_is_created_under_our_name_as_field_manager(client: Client) -> None:
    created = await client.create(SERVICE, a_service())
    assert {each["manager"] for each in created["metadata"]["managedFields"]} == {"embedding-operator"}


async def test_creating_over_an_existing_name_is_already_exists_and_changes_nothing(
    api: FakeApi, client: Client
) -> None:
    before = api.create(a_service())
    with pytest.raises(AlreadyExists, match='services "a" already exists'):
        await client.create(SERVICE, a_service(labels={"ours": "yes"}))
    assert api.get("services", "a") == before


async def test_a_list_comes_in_pages_and_its_items_say_what_they_are(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PAGE", 2)
    for name in "abcde":
        api.create(a_service(name))
    pages = [page async for page in client.pages(SERVICE)]
    assert [[each["metadata"]["name"] for each in page.items] for page in pages] == [["a", "b"], ["c", "d"], ["e"]]
    assert {(each["apiVersion"], each["kind"]) for page in pages for each in page.items} == {("v1", "Service")}


async def test_a_list_whose_pages_expire_begins_anew(
    api: FakeApi, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "_PAGE", 2)
    for name in "abc":
        api.create(a_service(name))
    pages = client.pages(SERVICE)
    await anext(pages)
    api.compact()
    with pytest.raises(Expired):
        await anext(pages)
    assert len(await client.list(SERVICE)) == 3


async def test_only_objects_with_the_label_are_listed(api: FakeApi, client: Client) -> None:
    api.create(a_service("a", labels={"of": "x"}))
    api.create(a_service("b", labels={"of": "y"}))
    api.create(a_service("c"))
    assert [each["metadata"]["name"] for each in await client.list(SERVICE, "default", labels="of=x")] == ["a"]


async def test_a_replacement_of_what_has_changed_is_a_conflict(api: FakeApi, client: Client) -> None:
    read = api.create(a_service())
    api.apply(a_service(labels={"changed": "by-another"}))
    with pytest.raises(Conflict):
        await client.replace(SERVICE, read)


async def test_scaling_changes_the_replicas_of_that_version_alone(api: FakeApi, client: Client) -> None:
    read = api.create(a_deployment())
    scaled = await client.scale(ref_of(read), read["metadata"]["resourceVersion"], 3)
    assert scaled["spec"] == {**read["spec"], "replicas": 3}
    with pytest.raises(Conflict):
        await client.scale(ref_of(read), read["metadata"]["resourceVersion"], 4)


async def test_an_object_is_deleted_by_its_uid_not_by_its_name(api: FakeApi, client: Client) -> None:
    old = api.create(a_service())
    api.delete("services", "a")
    api.create(a_service())
    with pytest.raises(Conflict, match="UID"):
        await client.delete(ref_of(old))
    assert api.get("services", "a")


async def test_an_object_whose_uid_is_not_known_is_not_deleted(client: Client) -> None:
    with pytest.raises(ValueError, match="with its UID"):
        await client.delete(ObjectRef("v1", "Service", "default", "a"))


async def test_a_watch_yields_what_comes_after_the_version_and_ends_with_the_server_s_time(
    api: FakeApi, client: Client
) -> None:
    first = api.create(a_service("a", labels={"of": "x"}))
    api.create(a_service("b", labels={"of": "y"}))
    api.create(a_service("c", labels={"of": "x"}))
    watch = client.watch(SERVICE, None, first["metadata"]["resourceVersion"], seconds=1, labels="of=x")
    events = [(each.type, each.object["metadata"].get("name")) async for each in watch]
    assert events == [("ADDED", "c"), ("BOOKMARK", None)]


async def test_a_watch_from_a_version_that_is_too_old_is_expired(api: FakeApi, client: Client) -> None:
    api.create(a_service())
    api.compact()
    with pytest.raises(Expired):
        await anext(client.watch(SERVICE, None, "1", seconds=5))


async def test_an_event_of_a_watch_may_be_larger_than_any_buffer(api: FakeApi, client: Client) -> None:
    large = a_service(annotations={"note": "x" * 200_000})
    since = api.create(a_service("other"))["metadata"]["resourceVersion"]
    api.create(large)
    event = await anext(client.watch(SERVICE, None, since, seconds=5))
    assert event.object["metadata"]["annotations"] == large["metadata"]["annotations"]


@pytest.mark.parametrize(
    ("status", "fault", "seconds"),
    [
        (400, Denied, 10),
        (401, Unavailable, None),
        (403, Denied, 10),
        (404, NotFound, None),
        (409, Conflict, 0),
        (410, Expired, None),
        (422, Denied, 10),
        (429, Unavailable, None),
        (500, Unavailable, None),
        (503, Unavailable, None),
        (504, Unavailable, None),
    ],
)
async def test_each_failure_says_what_was_asked_and_when_to_try_again(
    api: FakeApi, client: Client, status: int, fault: type[ClusterFault], seconds: float | None
) -> None:
    api.faults.fail("get", "secrets", status)
    with pytest.raises(fault, match=rf"get Secret default/s \({status}\): made to fail") as raised:
        await client.get(SECRET, "default", "s")
    assert raised.value.retry_after == seconds
    assert raised.value.status == status


@pytest.mark.parametrize(
    ("status", "words", "reason", "remedy"),
    [
        (403, 'secrets is forbidden: User "operator" cannot get resource "secrets"', "Forbidden", "Grant"),
        (403, "pods is forbidden: exceeded quota: small, requested: cpu=1", "QuotaExceeded", "Raise the quota"),
        (403, 'admission webhook "no.example" denied the request: no', "WebhookDenied", "exempt"),
        (500, 'failed calling webhook "down.example": connection refused', "WebhookFailed", "Restore"),
        (403, "pods is forbidden: failed quota: small: must specify limits.cpu", "QuotaExceeded", "set them"),
        (422, 'Service "a" is invalid: spec.ports[0].name: Duplicate value', "Denied", ""),
        (422, 'Service "a" is invalid: probe: Required value: must specify a handler type', "Denied", ""),
        (422, "ValidatingAdmissionPolicy 'p' denied request: a Service cannot have this name", "Denied", ""),
        (500, "etcdserver: request timed out", "ApiServerUnavailable", ""),
    ],
)
async def test_who_refused_is_in_the_reason_and_what_to_do_in_the_message(
    api: FakeApi, client: Client, *, status: int, words: str, reason: str, remedy: str
) -> None:
    api.faults.fail("create", "services", status, message=words)
    with pytest.raises(ClusterFault) as raised:
        await client.create(SERVICE, a_service())
    condition = raised.value.condition()
    assert condition.reason == reason
    assert words in condition.message
    assert remedy in condition.message
    assert remedy or condition.message.endswith(words)


async def test_a_server_that_names_a_time_is_believed(api: FakeApi, client: Client) -> None:
    api.faults.fail("list", "pods", 429, retry_after=7)
    with pytest.raises(Unavailable) as raised:
        await client.list(POD, "default")
    assert raised.value.retry_after == 7


async def test_no_answer_in_time_is_a_fault_not_a_wait(api: FakeApi) -> None:
    api.faults.hang("get", "secrets")
    async with a_client(api, timeout_seconds=0.05) as client:
        with pytest.raises(Unavailable, match="gave no answer to get Secret default/s: none within 0 s"):
            await client.get(SECRET, "default", "s")


async def test_a_server_that_cannot_be_reached_is_a_fault(api: FakeApi, client: Client) -> None:
    api.go_down()
    with pytest.raises(Unavailable, match="gave no answer to get Secret default/s"):
        await client.get(SECRET, "default", "s")
    api.come_up()


async def test_nothing_is_written_with_less_than_a_second_of_the_lease_left(api: FakeApi) -> None:
    existing = api.create(a_deployment())
    async with a_client(api, seconds_left=lambda: 0.9) as client:
        assert await client.list(SERVICE, "default") == []
        for write in (
            client.create(SERVICE, a_service()),
            client.delete(ref_of(existing)),
            client.replace(DEPLOYMENT, existing),
            client.scale(ref_of(existing), "1", 2),
        ):
            with pytest.raises(LeaseLost):
                await write
    assert api.writes == []


async def test_a_write_ends_before_the_lease_does(api: FakeApi) -> None:
    api.faults.hang("create", "services")
    async with a_client(api, seconds_left=lambda: 1.1) as client:
        began = asyncio.get_running_loop().time()
        with pytest.raises(Unavailable, match="none within 1 s"):
            await client.create(SERVICE, a_service())
        assert asyncio.get_running_loop().time() - began < 4


async def test_a_call_that_the_chart_gives_no_right_to_is_not_made(api: FakeApi, client: Client) -> None:
    with pytest.raises(ValueError, match="no right to list secrets"):
        await client.list(SECRET, "default")
    with pytest.raises(ValueError, match="no right to update events"):
        await client.replace(EVENT, a_service())
    assert api.requests == []


async def test_a_missing_custom_resource_is_noticed(api: FakeApi, client: Client) -> None:
    api.forget("storagecontainers")
    served = await client.served("serving.embeddings.dev", "v1alpha1")
    assert {each for each in served if "/" not in each} == {
        "clustermodelcaches",
        "clusterstoragecontainers",
        "embeddingservices",
        "modelcaches",
    }
    assert await client.served("nobody.example", "v1") == set()


async def test_every_call_is_counted_by_verb_kind_and_code(api: FakeApi) -> None:
    counted: list[tuple[str, str, str]] = []
    api.faults.fail("get", "secrets", 403)
    async with a_client(api, count=lambda *call: counted.append(call)) as client:
        await client.create(SERVICE, a_service())
        with pytest.raises(Denied):
            await client.get(SECRET, "default", "s")
    assert counted == [("create", "services", "201"), ("get", "secrets", "403")]


async def test_a_token_that_was_rotated_is_read_for_each_call(api: FakeApi) -> None:
    configuration = api.configuration
    tokens = iter(["Bearer one", "Bearer two"])
    configuration.refresh_api_key_hook = lambda each: each.api_key.update(BearerToken=next(tokens))
    async with open_connection(configuration) as connection:
        client = Client(connection, timeout_seconds=5)
        await client.list(SERVICE)
        await client.list(SERVICE)
    assert next(tokens, None) is None


async def test_an_answer_that_is_no_json_is_a_fault_like_any_other() -> None:
    with pytest.raises(Unavailable, match="not JSON"):
        await Client(ProxyPage(), timeout_seconds=5).get(SERVICE, "default", "a")


class ProxyPage(Connection):
    """A proxy that answers in the API server's place: 200, and a page."""

    def __init__(self) -> None:
        """Connects to nothing."""

    @asynccontextmanager
    async def request(self, *_: Any, **__: Any) -> AsyncIterator[Any]:
        async def read() -> bytes:
            return b"<html>Please log in</html>"

        yield SimpleNamespace(status=200, headers={}, read=read)
