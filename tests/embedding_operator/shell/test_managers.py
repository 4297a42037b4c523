"""Two operators whose scopes overlap see each other, and the later one leaves the services alone."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedding_operator.errors import Denied, NotFound, Unavailable
from embedding_operator.kinds import Kind
from embedding_operator.shell.client import Client, Json
from embedding_operator.shell.managers import Managers

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


class Leases(Client):
    """An API server with the Lease of another operator, or none."""

    def __init__(self, lease: Json | Exception) -> None:
        self.lease = lease
        self.reads = 0

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        self.reads += 1
        await asyncio.sleep(0)  # as every call does, it lets others run before it is answered
        assert (namespace, name) == ("other", "operator")
        if isinstance(self.lease, Exception):
            raise self.lease
        return self.lease


def a_lease(*, renewed: timedelta = timedelta(), holder: str = "pod") -> Json:
    renew_time = (NOW - renewed).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    return {"spec": {"holderIdentity": holder, "leaseDurationSeconds": 10, "renewTime": renew_time}}


def a_service(manager: str | None, name: str = "s") -> dict[str, Any]:
    return {
        "kind": "EmbeddingService",
        "metadata": {"uid": name, "namespace": "n", "name": name},
        "status": {"manager": manager} if manager else {},
    }


class World:
    def __init__(self, lease: Json | Exception) -> None:
        self.client = Leases(lease)
        self.now = NOW
        self.managers = Managers(self.client, "ours/operator", timedelta(seconds=10), lambda: self.now)


@pytest.mark.parametrize("manager", [None, "ours/operator"])
async def test_unmanaged_services_and_our_own_need_no_read_of_a_lease(manager: str | None) -> None:
    world = World(a_lease())
    assert await world.managers.other_manager(a_service(manager)) is None
    assert world.client.reads == 0


async def test_what_another_live_operator_manages_is_left_to_it_and_the_message_says_what_to_do() -> None:
    other = await World(a_lease()).managers.other_manager(a_service("other/operator"))
    assert other is not None
    assert "Lease other/operator manages this EmbeddingService" in other.message
    assert "different namespaces" in other.message


@pytest.mark.parametrize(
    "lease", [NotFound("gone"), a_lease(renewed=timedelta(seconds=20)), a_lease(holder="")], ids=["gone", "old", "free"]
)
async def test_what_an_operator_managed_that_works_no_more_is_taken_over(lease: Json | Exception) -> None:
    assert await World(lease).managers.other_manager(a_service("other/operator")) is None


async def test_where_the_lease_may_not_be_read_its_owner_counts_as_live() -> None:
    other = await World(Denied("no right to get leases")).managers.other_manager(a_service("other/operator"))
    assert other is not None
    assert "no right to get leases" in other.message


async def test_a_lease_that_cannot_be_read_for_a_moment_is_a_fault() -> None:
    with pytest.raises(Unavailable):
        await World(Unavailable("503")).managers.other_manager(a_service("other/operator"))


async def test_it_is_news_once_and_looked_at_less_and_less_often() -> None:
    world = World(a_lease())
    seen = []
    for _ in range(7):
        other = await world.managers.other_manager(a_service("other/operator"))
        assert other is not None
        seen.append((other.is_news, other.requeue_after.total_seconds()))
    assert seen == [(True, 10), (False, 20), (False, 40), (False, 80), (False, 160), (False, 300), (False, 300)]


async def test_one_read_serves_all_its_services_for_as_long_as_a_lease_lasts() -> None:
    world = World(a_lease())
    for number in range(20):
        await world.managers.other_manager(a_service("other/operator", name=str(number)))
    assert (world.client.reads, world.managers.conflicts) == (1, 20)
    world.now += timedelta(seconds=10)
    await world.managers.other_manager(a_service("other/operator"))
    assert world.client.reads == 2


async def test_services_that_are_looked_at_at_once_share_one_read_and_get_the_same_words() -> None:
    world = World(a_lease())
    found = await asyncio.gather(
        *(world.managers.other_manager(a_service("other/operator", name=str(number))) for number in range(20))
    )
    assert len({other.message for other in found if other is not None}) == 1
    assert world.client.reads == 1


async def test_a_service_that_becomes_ours_conflicts_no_more() -> None:
    world = World(a_lease())
    await world.managers.other_manager(a_service("other/operator"))
    await world.managers.other_manager(a_service("ours/operator"))
    assert world.managers.conflicts == 0
