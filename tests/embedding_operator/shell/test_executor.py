"""Plans are carried out on an API server; nothing of others is written, and every answer is in the store at once."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from embedding_operator import kinds
from embedding_operator.constants import ADOPT_ANNOTATION, API_VERSION, DRAIN_ANNOTATION, SERVICE_LABEL
from embedding_operator.core.objects import ObjectRef
from embedding_operator.core.plan import Annotate, Create, Delete, Plan, Replace, Scale
from embedding_operator.core.records import EventRecord
from embedding_operator.core.rollout import Phase, Rollout
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.core.writes import writes
from embedding_operator.errors import Conflict, Denied, NameTaken, Terminating, Unavailable
from embedding_operator.kinds import EMBEDDING_SERVICE, POD, SERVICE, Kind, Role
from embedding_operator.shell.client import Client
from embedding_operator.shell.connection import open_connection
from embedding_operator.shell.events import EventRecorder
from embedding_operator.shell.executor import Executor
from embedding_operator.shell.store import Store
from support.fake_api import FakeApi, fake_api
from support.fake_api.kinds import Kind as FakeKind

Raw = dict[str, Any]


class World:
    """One service on an API server, and an executor."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        self.api = api
        self.now = datetime(2026, 3, 1, tzinfo=UTC)
        self.store = Store()
        self.executor = Executor(client, self.store, EventRecorder(client, lambda: self.now))
        model = {"storageUri": "hf://a/b"}
        self.service = api.create(
            {
                "apiVersion": API_VERSION,
                "kind": "EmbeddingService",
                "metadata": {"name": "s", "namespace": "default"},
                "spec": {"model": model},
            }
        )
        self.store.upsert(EMBEDDING_SERVICE, self.service)

    async def execute(self, *writes: Any, **plan: Any) -> None:
        await self.executor.execute(self.service, Plan(writes=writes, **plan))

    def child(self, *, port: int = 80, uid: str | None = None, owner_kind: str = "EmbeddingService") -> Raw:
        """A Kubernetes Service as a builder makes it."""
        owner = {"apiVersion": API_VERSION, "kind": owner_kind, "name": "s", "controller": True}
        owner["uid"] = uid or self.service["metadata"]["uid"]
        return {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {
                "name": "s",
                "namespace": "default",
                "labels": {SERVICE_LABEL: "s"},
                "ownerReferences": [owner],
            },
            "spec": {"ports": [{"name": "http", "port": port}], "selector": {"app": "s"}},
        }

    def foreign(self, **metadata: Any) -> Raw:
        """A Service of that name that somebody else made."""
        child = self.child()
        return {**child, "metadata": {"name": "s", "namespace": "default", **metadata}}

    @property
    def known(self) -> Raw | None:
        return self.store.get(SERVICE, "default", "s")


@asynccontextmanager
async def a_world() -> AsyncIterator[World]:
    async with fake_api() as api, open_connection(api.configuration) as connection:
        yield World(api, Client(connection, timeout_seconds=5))


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with a_world() as world:
        yield world


def ref_of(raw: Raw) -> ObjectRef:
    meta = raw["metadata"]
    return ObjectRef(raw["apiVersion"], raw["kind"], meta["namespace"], meta["name"], meta["uid"])


async def test_what_is_created_is_in_the_store_at_once(world: World) -> None:
    await world.execute(Create(world.child()))
    assert world.known is not None
    assert world.known["spec"] == world.api.list("services")[0]["spec"]


@pytest.mark.parametrize("metadata", [{}, {"labels": {SERVICE_LABEL: "s"}}], ids=["unlabelled", "copied labels"])
async def test_an_object_of_others_is_not_written_over_and_its_name_is_reported(
    world: World, metadata: dict[str, Any]
) -> None:
    before = world.api.create(world.foreign(**metadata))
    with pytest.raises(NameTaken, match=r"Service default/s exists and has no controller.*adopt"):
        await world.execute(Create(world.child()))
    assert world.api.get("services", "s") == before


async def test_what_another_controls_is_reported_with_its_controller_even_where_it_may_be_adopted(world: World) -> None:
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "boss", "uid": "x", "controller": True}
    owner["uid"] = world.api.create(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "boss", "namespace": "default"}}
    )["metadata"]["uid"]
    world.api.create(world.foreign(ownerReferences=[owner], annotations={ADOPT_ANNOTATION: "true"}))
    with pytest.raises(NameTaken, match="is controlled by ConfigMap boss"):
        await world.execute(Create(world.child()))


async def test_an_object_with_the_annotation_is_taken_over(world: World) -> None:
    before = world.api.create(world.foreign(annotations={ADOPT_ANNOTATION: "true"}))
    await world.execute(Create(world.child(port=8080)))
    after = world.api.get("services", "s")
    assert after is not None
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert after["metadata"]["ownerReferences"][0]["uid"] == world.service["metadata"]["uid"]
    assert after["spec"]["ports"][0]["port"] == 8080
    assert world.known is not None


async def test_an_object_that_changes_while_it_is_taken_over_is_a_conflict(world: World) -> None:
    world.api.create(world.foreign(annotations={ADOPT_ANNOTATION: "true"}))
    theirs = world.foreign(annotations={ADOPT_ANNOTATION: "false"})
    world.api.faults.before("update", "services", lambda: world.api.apply(theirs, force=True))
    with pytest.raises(Conflict):
        await world.execute(Create(world.child()))
    after = world.api.get("services", "s")
    assert after is not None
    assert "ownerReferences" not in after["metadata"]


async def test_what_a_former_service_of_that_name_left_is_waited_for(world: World) -> None:
    left = world.child(uid="a-former-uid")
    left["metadata"]["ownerReferences"].append(
        {"apiVersion": "v1", "kind": "Namespace", "name": "default", "uid": namespace_uid(world)}
    )  # or the fake API server collected it already
    world.api.create(left)
    with pytest.raises(Terminating):
        await world.execute(Create(world.child()))


def namespace_uid(world: World) -> str:
    uid: str = next(each for each in world.api.list("namespaces"))["metadata"]["uid"]
    return uid


async def test_a_child_that_lost_its_label_is_found_again_by_its_owner(world: World) -> None:
    child = world.child()
    del child["metadata"]["labels"]
    world.api.create(child)
    with pytest.raises(Conflict):
        await world.execute(Create(world.child()))
    assert len(world.store.children(world.service["metadata"]["uid"])) == 1


async def test_a_replacement_upon_an_old_version_changes_nothing_and_the_new_one_is_known(world: World) -> None:
    old = world.api.create(world.child())
    changed = world.api.apply({**world.child(), "spec": {"sessionAffinity": "ClientIP"}}, force=True)
    with pytest.raises(Conflict):
        await world.execute(Replace(old))
    assert world.api.get("services", "s") == changed
    assert world.known is not None
    assert world.known["metadata"]["resourceVersion"] == changed["metadata"]["resourceVersion"]


async def test_what_cannot_become_what_is_wanted_is_created_anew_where_that_loses_nothing(world: World) -> None:
    old = world.api.create(world.child())
    wanted = {**old, "spec": {**old["spec"], "ports": [{"name": "http", "port": 8080}]}}
    world.api.faults.fail("update", "services", 422)
    await world.execute(Replace(wanted, recreate=True))
    new = world.api.get("services", "s")
    assert new is not None
    assert new["metadata"]["uid"] != old["metadata"]["uid"]
    assert new["spec"]["ports"][0]["port"] == 8080
    assert world.known is not None
    assert world.known["metadata"]["uid"] == new["metadata"]["uid"]


@pytest.mark.parametrize(("status", "recreate"), [(422, False), (403, True)])
async def test_else_the_refusal_is_reported_and_the_object_stays(world: World, status: int, recreate: bool) -> None:  # noqa: FBT001
    old = world.api.create(world.child())
    world.api.faults.fail("update", "services", status)
    with pytest.raises(Denied):
        await world.execute(Replace(old, recreate=recreate))
    assert world.api.get("services", "s") == old


async def test_only_that_very_object_is_deleted(world: World) -> None:
    old = world.api.create(world.child())
    world.store.upsert(SERVICE, old)
    world.api.delete("services", "s")
    theirs = world.api.create(world.foreign())
    await world.execute(Delete(ref_of(old)))
    assert world.api.get("services", "s") == theirs
    assert world.known is None


async def test_what_is_gone_already_is_as_wanted(world: World) -> None:
    old = world.api.create(world.child())
    world.store.upsert(SERVICE, old)
    world.api.delete("services", "s")
    await world.execute(Delete(ref_of(old)))
    assert world.known is None


async def test_a_deployment_is_scaled_at_its_version(world: World) -> None:
    labels = {"app": "d", SERVICE_LABEL: "s"}
    pod = {"metadata": {"labels": labels}, "spec": {"containers": [{"name": "c", "image": "i"}]}}
    deployment = world.api.create(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "d", "namespace": "default", "labels": labels},
            "spec": {"selector": {"matchLabels": labels}, "template": pod},
        }
    )
    version = deployment["metadata"]["resourceVersion"]
    await world.execute(Scale(ref_of(deployment), version, 0))
    assert world.api.list("deployments")[0]["spec"]["replicas"] == 0
    with pytest.raises(Conflict):
        await world.execute(Scale(ref_of(deployment), version, 2))


async def test_pods_are_annotated_and_those_that_are_gone_are_no_fault(world: World) -> None:
    pod = world.api.create(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": "p", "namespace": "default", "labels": {SERVICE_LABEL: "s"}},
            "spec": {"containers": [{"name": "c", "image": "i"}]},
        }
    )
    await world.execute(Annotate(ref_of(pod), {DRAIN_ANNOTATION: "now"}))
    annotated = world.store.get(POD, "default", "p")
    assert annotated is not None
    assert annotated["metadata"]["annotations"] == {DRAIN_ANNOTATION: "now"}
    world.api.delete("pods", "p")
    await world.execute(Annotate(ref_of(pod), {DRAIN_ANNOTATION: "now"}))


async def test_the_status_is_written_upon_the_version_that_was_read(world: World) -> None:
    await world.execute(status=a_status(1))
    with pytest.raises(Conflict):
        await world.execute(status=a_status(2))
    present = world.store.get(EMBEDDING_SERVICE, "default", "s")
    assert present is not None
    assert present["status"]["replicas"] == 1  # what is there now is known for the next plan


async def test_a_failed_revision_is_recorded_before_it_is_removed(world: World) -> None:
    """Else a conflict in between would have it tried once more."""
    world.api.replace({**world.service, "spec": {**world.service["spec"], "replicas": 3}})
    with pytest.raises(Conflict):
        await world.execute(Create(world.child()), status=a_status(1), is_status_first=True)
    assert not world.api.list("services")


async def test_the_status_of_a_service_that_is_gone_is_no_fault_and_it_is_forgotten(world: World) -> None:
    world.api.delete("embeddingservices", "s")
    await world.execute(status=a_status(1))
    assert not world.store.has(EMBEDDING_SERVICE, "default", "s")


async def test_what_was_done_before_a_failure_stays_and_the_rest_is_not_tried(world: World) -> None:
    world.api.faults.fail("create", "deployments", 500)
    with pytest.raises(Unavailable):
        await world.execute(
            Create(world.child()),
            Create({**world.child(), "apiVersion": "apps/v1", "kind": "Deployment"}),
            status=a_status(1),
        )
    assert world.api.get("services", "s")
    assert "status" not in (world.api.get("embeddingservices", "s") or {})


async def test_an_event_is_cut_to_what_the_api_server_takes(world: World) -> None:
    await world.execute(events=[EventRecord("Warning", "R", "ü" * 1000)])
    (event,) = world.api.list("events")
    assert len(event["message"].encode()) <= 1024
    assert event["message"].endswith("ü...")
    assert event["involvedObject"]["uid"] == world.service["metadata"]["uid"]


async def test_a_service_has_a_few_events_a_minute_and_the_log_has_the_others(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    await world.execute(events=[EventRecord("Normal", "R", f"number {number}") for number in range(12)])
    assert len(world.api.list("events")) == 10
    assert "number 11 (no Event" in caplog.text
    world.now += timedelta(minutes=1)
    await world.execute(events=[EventRecord("Normal", "R", "later")])
    assert len(world.api.list("events")) == 11


async def test_an_event_that_is_refused_is_in_the_log_and_no_fault(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.api.faults.fail("create", "events", 403)
    await world.execute(events=[EventRecord("Warning", "R", "important news")])
    assert "important news (no Event: The API server refused to create Event default/s" in caplog.text


def a_status(replicas: int) -> Raw:
    return {"replicas": replicas, "readyReplicas": 0, "conditions": []}


async def test_what_was_deleted_just_before_its_replacement_is_forgotten_and_planned_anew(world: World) -> None:
    await world.execute(Create(world.child()))
    assert world.known is not None
    world.api.delete("services", "s")
    with pytest.raises(Conflict):
        await world.execute(Replace({**world.known, "spec": world.child(port=81)["spec"]}))
    assert world.known is None


NETWORK_POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies", Role.CHILD)


async def test_a_row_in_the_table_of_kinds_is_all_that_a_new_kind_of_child_needs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    kind = NETWORK_POLICY
    monkeypatch.setitem(kinds._BY_NAME, (kind.api_version, kind.name), kind)
    monkeypatch.setattr("embedding_operator.shell.store.KINDS", (*kinds.KINDS, kind))
    async with a_world() as world:
        served = FakeKind(kind.api_version, kind.name, kind.plural)
        world.api.store.kinds[kind.api_version, kind.plural] = served
        policy: Raw = {**world.child(), "apiVersion": kind.api_version, "kind": kind.name, "spec": {"number": 1}}
        uid = world.service["metadata"]["uid"]
        seen = []
        for desired in ([policy], [{**policy, "spec": {"number": 2}}], []):
            snapshot = Snapshot(world.service, children=tuple(world.store.children(uid)))
            await world.execute(*writes(desired, Rollout(Phase.SETTLED, "r", "r", None, {}), snapshot))
            seen.append([each["spec"]["number"] for each in world.api.list(kind.plural)])
        assert seen == [[1], [2], []]
        assert world.store.children(uid) == []
