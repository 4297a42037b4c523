"""Secrets are read by name, seldom, and not at all once everything is there."""

from typing import Any

import pytest

from embedding_operator.constants import USE_LABEL
from embedding_operator.errors import Denied, NotFound
from embedding_operator.kinds import Kind
from embedding_operator.shell.client import Client, Json
from embedding_operator.shell.secrets import SecretReader, Secrets
from support.clock import ManualClock

NEEDED = {"token": frozenset({"HF_TOKEN"})}


class OnlySecrets(Client):
    """An API server with Secrets alone."""

    def __init__(self) -> None:
        self.secrets: dict[str, Json] = {}
        self.reads: list[str] = []
        self.denies = False

    def put(self, name: str = "token", *keys: str, labels: dict[str, str] | None = None) -> None:
        self.secrets[name] = {"metadata": {"labels": labels or {}}, "data": dict.fromkeys(keys, "c2VjcmV0")}

    async def get(self, kind: Kind, namespace: str | None, name: str) -> Json:
        self.reads.append(name)
        if self.denies:
            raise Denied("no right to get secrets")
        if name not in self.secrets:
            raise NotFound(name)
        return self.secrets[name]


class World:
    def __init__(self) -> None:
        self.client = OnlySecrets()
        self.clock = ManualClock()
        self.reader = SecretReader(self.client, self.clock, chance=lambda: 0.0)

    async def read(self, *, generation: int = 1, is_accepted: bool = False, **needed: Any) -> Secrets:
        service = {"metadata": {"uid": "u", "namespace": "n", "name": "s", "generation": generation}}
        return await self.reader.read(service, needed or NEEDED, is_accepted=is_accepted)


async def test_only_the_needed_keys_are_reported() -> None:
    world = World()
    world.client.put("token", "HF_TOKEN", "another")
    assert (await world.read()).keys == NEEDED


async def test_what_is_all_there_is_not_read_again() -> None:
    world = World()
    world.client.put("token", "HF_TOKEN", labels={USE_LABEL: "true"})
    for _ in range(5):
        secrets = await world.read()
        world.clock.now += 1000
    assert world.client.reads == ["token"]
    assert secrets.read_again is None


@pytest.mark.parametrize("keys", [None, ()])
async def test_what_is_missing_is_looked_for_less_and_less_often(keys: tuple[str, ...] | None) -> None:
    world = World()
    if keys is not None:
        world.client.put("token", *keys)
    waits = []
    for _ in range(6):
        secrets = await world.read()
        assert secrets.read_again is not None
        waits.append(secrets.read_again.total_seconds())
        world.clock.now += waits[-1]
    assert waits == [20, 40, 80, 160, 300, 300]


async def test_events_in_between_cause_no_reads() -> None:
    world = World()
    await world.read()
    world.clock.now += 5
    secrets = await world.read()
    assert world.client.reads == ["token"]
    assert secrets.keys == {"token": None}
    assert secrets.read_again is not None
    assert secrets.read_again.total_seconds() == 15


async def test_a_new_spec_is_read_for_at_once() -> None:
    world = World()
    await world.read(generation=1)
    world.client.put("token", "HF_TOKEN")
    assert (await world.read(generation=2)).keys == NEEDED


async def test_what_is_missing_and_optional_is_not_waited_for() -> None:
    world = World()
    for _ in range(3):
        assert (await world.read(is_accepted=True)).read_again is None
        world.clock.now += 1000
    assert world.client.reads == ["token"]


async def test_a_secret_without_the_label_that_a_policy_may_ask_for_is_reported() -> None:
    world = World()
    world.client.put("token", "HF_TOKEN")
    assert (await world.read()).unlabelled == {"token"}
    world.client.put("token", "HF_TOKEN", labels={USE_LABEL: "true"})
    assert (await world.read(generation=2)).unlabelled == set()


async def test_a_service_that_needs_none_reads_none_and_nothing_is_remembered_of_it() -> None:
    world = World()
    await world.read()
    service = {"metadata": {"uid": "u", "namespace": "n", "name": "s"}}
    assert await world.reader.read(service, {}, is_accepted=False) == Secrets()
    assert world.reader._known == {}


async def test_a_missing_right_is_a_fault_with_the_api_server_s_words() -> None:
    world = World()
    world.client.denies = True
    with pytest.raises(Denied, match="no right"):
        await world.read()
