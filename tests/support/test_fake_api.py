"""The fake API server: the scenarios that hold for the real one, then what only a fake can do."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import aiohttp
import pytest

from support.api_scenarios import SCENARIOS, Api, Refused
from support.clock import eventually
from support.fake_api import ApiError, FakeApi, Request, fake_api

Json = dict[str, Any]


@dataclass
class Both:
    """The fake, and a client of it."""

    fake: FakeApi
    api: Api


@pytest.fixture
async def both() -> AsyncIterator[Both]:
    async with fake_api() as fake, aiohttp.ClientSession(headers={"User-Agent": "tester/1"}) as session:
        async with asyncio.timeout(60):
            yield Both(fake, Api(session, fake.url, "default"))


def config(name: str = "one", **metadata: Any) -> Json:
    meta = {"name": name, "namespace": "default", **metadata}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}


@pytest.mark.parametrize("scenario", SCENARIOS)
async def test_the_fake_api_server_is_like_the_real_one(scenario: str, both: Both) -> None:
    await SCENARIOS[scenario](both.api)


async def test_requests_are_written_down_with_their_user_agent(both: Both) -> None:
    await both.api.create(config())
    await both.api.list("ConfigMap")
    assert both.fake.requests == [
        Request("create", "configmaps", "default"),
        Request("list", "configmaps", "default"),
    ]
    assert {request.user_agent for request in both.fake.requests} == {"tester/1"}
    assert both.fake.writes == both.fake.requests[:1]


async def test_a_request_fails_the_given_number_of_times(both: Both) -> None:
    both.fake.faults.fail("create", "configmaps", 503, times=2)
    for _ in range(2):
        with pytest.raises(Refused, match="503"):
            await both.api.create(config())
    await both.api.create(config())


async def test_a_failure_can_be_of_one_name(both: Both) -> None:
    both.fake.faults.fail("get", "configmaps", 500, name="one")
    both.fake.create(config("two"))
    await both.api.get("ConfigMap", "two")
    with pytest.raises(Refused, match="500"):
        await both.api.get("ConfigMap", "one")


async def test_a_right_can_be_missing(both: Both) -> None:
    both.fake.faults.deny("create", "configmaps")
    with pytest.raises(Refused, match='cannot create resource "configmaps" in API group "" in the namespace "default"'):
        await both.api.create(config())


async def test_a_connection_can_be_reset_before_the_write(both: Both) -> None:
    both.fake.faults.reset("create", "configmaps")
    with pytest.raises(aiohttp.ClientError):
        await both.api.create(config())
    assert both.fake.get("configmaps", "one") is None


async def test_an_answer_can_be_lost_after_the_write(both: Both) -> None:
    both.fake.faults.reset("create", "configmaps", after=True)
    with pytest.raises(aiohttp.ClientError):
        await both.api.create(config())
    assert both.fake.get("configmaps", "one")


async def test_a_request_hangs_until_it_is_released(both: Both) -> None:
    both.fake.faults.hang("create", "configmaps")
    hanging = asyncio.create_task(both.api.create(config()))
    await eventually(lambda: both.fake.requests)
    done, _ = await asyncio.wait({hanging}, timeout=0.05)
    assert not done
    hanging.cancel()
    await both.api.create(config())


async def test_something_can_happen_just_before_a_request(both: Both) -> None:
    both.fake.faults.before("create", "configmaps", lambda: both.fake.create(config()))
    with pytest.raises(Refused, match="AlreadyExists"):
        await both.api.create(config())


async def test_a_server_that_is_down_cuts_every_connection(both: Both) -> None:
    both.fake.go_down()
    with pytest.raises(aiohttp.ClientError):
        await both.api.list("ConfigMap")
    both.fake.come_up()
    await both.api.list("ConfigMap")


async def test_a_webhook_changes_written_fields_without_owning_them(both: Both) -> None:
    both.fake.mutate(lambda obj: {**obj, "data": {"injected": "yes"}})
    made = await both.api.apply(config())
    assert made["data"] == {"injected": "yes"}
    assert "managedFields" not in made["metadata"]


async def test_a_webhook_refuses(both: Both) -> None:
    def refuse(_: Json) -> Json:
        raise ApiError(403, "Forbidden", 'admission webhook "policy" denied the request: no')

    both.fake.mutate(refuse)
    with pytest.raises(Refused, match="denied the request"):
        await both.api.create(config())


async def test_watches_can_be_disconnected(both: Both) -> None:
    async with both.api.session.get(f"{both.fake.url}/api/v1/configmaps?watch=1&resourceVersion=1000") as watch:
        assert both.fake.watches("configmaps") == 1
        both.fake.disconnect_watches()
        assert await watch.content.read() == b""
    assert both.fake.watches("configmaps") == 0


async def test_bookmarks_are_sent_to_watches_that_allow_them(both: Both) -> None:
    url = f"{both.fake.url}/api/v1/configmaps?watch=1&resourceVersion={both.fake.store.version}"
    async with both.api.session.get(f"{url}&allowWatchBookmarks=true") as allows, both.api.session.get(url) as plain:
        both.fake.create({**config(), "kind": "Secret"})
        both.fake.send_bookmarks()
        both.fake.disconnect_watches()
        assert f'"resourceVersion": "{both.fake.store.version}"' in (await allows.content.read()).decode()
        assert await plain.content.read() == b""


async def test_a_watch_ends_at_its_timeout_with_a_bookmark(both: Both) -> None:
    query = "watch=1&resourceVersion=1001&allowWatchBookmarks=true&timeoutSeconds=0.01"
    async with both.api.session.get(f"{both.fake.url}/api/v1/configmaps?{query}") as watch:
        assert b"BOOKMARK" in await watch.content.read()


async def test_a_streamed_list_ends_with_its_bookmark(both: Both) -> None:
    both.fake.create(config())
    query = "watch=1&sendInitialEvents=true&allowWatchBookmarks=true"
    async with both.api.session.get(f"{both.fake.url}/api/v1/configmaps?{query}") as watch:
        assert b"ADDED" in await watch.content.readline()
        assert b'"k8s.io/initial-events-end": "true"' in await watch.content.readline()


async def test_pages_and_versions_before_a_compaction_are_expired(both: Both) -> None:
    both.fake.create(config("one"))
    both.fake.create(config("two"))
    page = await both.api.list("ConfigMap", limit="1")
    both.fake.create(config("three"))
    both.fake.compact()
    with pytest.raises(Refused, match="410 Expired"):
        await both.api.list("ConfigMap", **{"continue": page["metadata"]["continue"]})
    async with both.api.watch("ConfigMap", page["metadata"]["resourceVersion"]) as next_event:
        assert (await next_event())["object"]["code"] == 410


async def test_a_kind_can_be_forgotten(both: Both) -> None:
    both.fake.forget("embeddingservices")
    with pytest.raises(Refused, match="could not find the requested resource"):
        await both.api.list("EmbeddingService")


async def test_deleting_a_namespace_deletes_its_objects(both: Both) -> None:
    both.fake.create(config())
    both.fake.delete("namespaces", "default")
    with pytest.raises(ApiError, match="because it is being terminated"):
        both.fake.create(config("two"))
    await both.api.is_gone("ConfigMap", "one")
    assert both.fake.get("namespaces", "default") is None
