"""A list, then a watch from there, for ever, whatever the API server does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from embedding_operator.constants import SERVICE_LABEL
from embedding_operator.kinds import SERVICE
from embedding_operator.shell import client as client_module
from embedding_operator.shell.client import Client
from embedding_operator.shell.clock import Clock
from embedding_operator.shell.connection import open_connection
from embedding_operator.shell.reflector import Reflector, list_into
from embedding_operator.shell.store import Store
from support.clock import ManualClock, eventually
from support.fake_api import FakeApi, fake_api


class Reflected:
    """An API server, and the store that is kept like it."""

    def __init__(self, api: FakeApi, client: Client, clock: Clock) -> None:
        self.api = api
        self.client = client
        self.store = Store()
        self.reflector = Reflector(
            client,
            self.store,
            clock,
            SERVICE,
            labels=SERVICE_LABEL,
            chance=lambda: 0.9,
        )

    @property
    def names(self) -> set[str]:
        return {each["metadata"]["name"] for each in self.store.all(SERVICE)}

    @property
    def lists(self) -> int:
        return sum(1 for each in self.api.requests if each.verb == "list")

    def create(self, name: str, *, label: str = SERVICE_LABEL) -> None:
        meta = {"name": name, "namespace": "default", "labels": {label: "s"}}
        self.api.create({"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": 80}]}})


@asynccontextmanager
async def reflected(*names: str, clock: Clock | None = None) -> AsyncIterator[Reflected]:
    async with fake_api() as api, open_connection(api.configuration) as connection:
        it = Reflected(api, Client(connection, timeout_seconds=5), clock or asyncio.get_running_loop())
        for name in names:
            it.create(name)
        task = asyncio.create_task(it.reflector.run(asyncio.Lock()))
        try:
            yield it
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_what_exists_at_the_start_is_in_the_store_when_it_is_synced() -> None:
    async with reflected("a", "b") as it:
        await it.reflector.synced.wait()
        assert it.names == {"a", "b"}


async def test_changes_follow() -> None:
    async with reflected("a") as it:
        await eventually(lambda: it.api.watches("services"))
        it.create("b")
        it.api.delete("services", "a")
        await eventually(lambda: it.names == {"b"})
        assert it.lists == 1


async def test_objects_without_the_label_are_not_read_at_all() -> None:
    async with reflected() as it:
        await eventually(lambda: it.api.watches("services"))
        it.create("foreign", label="app")
        it.create("ours")
        await eventually(lambda: it.names == {"ours"})


async def test_a_watch_that_ends_goes_on_from_where_it_was() -> None:
    async with reflected() as it:
        await eventually(lambda: it.api.watches("services"))
        it.create("a")
        await eventually(lambda: it.names == {"a"})
        it.api.go_down()
        it.create("b")
        it.api.come_up()
        await eventually(lambda: it.names == {"a", "b"})
        assert it.lists == 1
        assert it.reflector.state.restarts > 0


async def test_after_a_version_that_is_too_old_a_list_finds_what_was_deleted() -> None:
    async with reflected("a", "b") as it:
        await eventually(lambda: it.api.watches("services"))
        it.api.go_down()
        it.api.delete("services", "a")
        it.api.compact()
        it.api.come_up()
        await eventually(lambda: it.names == {"b"})
        assert it.lists == 2


async def test_a_bookmark_moves_the_version_so_that_no_list_is_needed_after_a_quiet_time() -> None:
    async with reflected() as it:
        await eventually(lambda: it.api.watches("services"))
        it.create("foreign", label="app")
        it.api.send_bookmarks()
        await eventually(lambda: it.reflector._version == str(it.api.store.version))
        it.api.compact()
        it.api.disconnect_watches()
        await eventually(lambda: it.reflector.state.restarts)
        await eventually(lambda: it.api.watches("services"))
        assert it.lists == 1


async def test_an_error_in_the_stream_begins_it_anew() -> None:
    async with reflected("a") as it:
        it.api.faults.fail("watch", "services", 500)
        it.create("b")
        await eventually(lambda: it.names == {"a", "b"})


async def test_a_watch_that_goes_on_failing_is_tried_less_and_less_often_and_at_once_when_it_worked_again() -> None:
    clock = ManualClock()

    async def next_wait() -> float:
        await eventually(lambda: clock.calls)
        seconds = clock.calls[0].due - clock.now
        await clock.advance(seconds)
        return seconds

    async with reflected(clock=clock) as it:
        it.api.faults.fail("watch", "services", 403, times=5)
        waits = [await next_wait() for _ in range(5)]
        assert waits == pytest.approx([0.275, 0.55, 1.1, 1.1, 1.1])  # of 0.5, 1 and 2 seconds, less a part by chance
        await eventually(lambda: it.api.watches("services"))
        it.create("a")
        await eventually(lambda: it.names == {"a"})
        it.api.faults.fail("watch", "services", 500)
        it.api.disconnect_watches()
        assert await next_wait() == pytest.approx(0.275)


async def test_a_repair_lists_when_the_present_watch_ends() -> None:
    async with reflected("a") as it:
        await eventually(lambda: it.api.watches("services"))
        it.reflector.list_anew()
        it.api.disconnect_watches()
        await eventually(lambda: it.lists == 2)


async def test_a_list_that_takes_too_long_for_the_server_begins_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "_PAGE", 1)
    async with reflected() as it:
        await it.reflector.synced.wait()
        for name in "abc":
            it.create(name)
        pages = 0

        def compact_once() -> None:
            nonlocal pages
            pages += 1
            if pages == 2:
                it.api.compact()

        it.api.faults.before("list", "services", compact_once, times=None)
        store = Store()
        await list_into(store, it.client, SERVICE)
        assert store.count(SERVICE) == 3
