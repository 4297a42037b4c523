"""The whole operator against an API server: watches, workers and Lease together."""

import asyncio
import re
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION, SERVICE_LABEL, USE_LABEL
from embedding_operator.core import questions
from embedding_operator.kinds import CHILDREN, KINDS, RESOURCES, WATCHED
from embedding_operator.settings import Settings
from embedding_operator.shell import run, term
from embedding_operator.shell.client import Client
from embedding_operator.shell.connection import open_connection
from embedding_operator.shell.metrics import Metrics
from support.builders import MINILM, a_pod_of, ended
from support.caches import a_cluster_cache
from support.clock import ManualClock, eventually, settle
from support.fake_api import FakeApi, Request, fake_api
from support.pods import as_json, pods

LEASE = "embedding-operator"
CHILD_PLURALS = [kind.plural for kind in CHILDREN]


def an_embedding_service(name: str = "minilm", **spec: Any) -> dict[str, Any]:
    return {
        "apiVersion": API_VERSION,
        "kind": "EmbeddingService",
        "metadata": {"name": name, "namespace": "default"},
        "spec": {"model": {"storageUri": MINILM}, **spec},
    }


def a_storage_container(name: str) -> dict[str, Any]:
    """For services that name it."""
    return {
        "apiVersion": API_VERSION,
        "kind": "ClusterStorageContainer",
        "metadata": {"name": name},
        "spec": {"container": {"image": "mirror:1"}, "supportedUriFormats": [{"prefix": "never://"}]},
    }


def a_lease(holder: str, *, seconds: int = 15) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": LEASE, "namespace": "default"},
        "spec": {"holderIdentity": holder, "leaseDurationSeconds": seconds},
    }


class Running:
    """An operator at work, and the API server that it works on."""

    def __init__(self, api: FakeApi, settings: Settings) -> None:
        self.api = api
        self.process = run.Process(settings)
        self._stop = asyncio.Event()
        self.task = asyncio.create_task(self.process.operate(api.configuration, self._stop))

    async def stop(self) -> None:
        self._stop.set()
        await self.task

    async def watches(self) -> None:
        await eventually(lambda: all(self.api.watches(kind.plural) for kind in WATCHED))

    async def is_level(self, name: str = "minilm") -> None:
        """Until a service has all that it needs, and a status that says so; then the operator is at rest."""
        await eventually(lambda: self.status(name).get("observedGeneration"))

    def status(self, name: str = "minilm") -> dict[str, Any]:
        service = self.api.get("embeddingservices", name)
        status: dict[str, Any] = (service or {}).get("status", {})
        return status

    def children(self, name: str = "minilm") -> list[dict[str, Any]]:
        return [
            child
            for plural in CHILD_PLURALS
            for child in self.api.list(plural)
            if child["metadata"].get("labels", {}).get(SERVICE_LABEL) == name
        ]

    async def renewals(self, number: int) -> None:
        """Until the Lease was renewed so often: the clock of a world where nothing else happens."""
        until = self.renewed + number
        await eventually(lambda: self.renewed >= until)

    @property
    def renewed(self) -> int:
        return self.api.requests.count(self.of_lease("update"))

    def of_lease(self, verb: str) -> Request:
        return next(
            (each for each in self.api.requests if (each.verb, each.resource) == (verb, "leases")),
            Request(verb, "leases", "default", LEASE),
        )

    @property
    def asked(self) -> list[Request]:
        return [each for each in self.api.requests if each.resource != "leases"]

    @property
    def written(self) -> list[Request]:
        return [each for each in self.api.writes if each.resource != "leases"]


@asynccontextmanager
async def an_operator(*objects: dict[str, Any], **settings: Any) -> AsyncIterator[Running]:
    async with fake_api() as api:
        for obj in objects:
            api.create(obj)
        running = Running(api, Settings.model_validate({"lease_seconds": 5, **settings}))
        try:
            yield running
        finally:
            running.task.cancel()
            await asyncio.wait({running.task})


class Leading:
    """A term of office whose clock a test turns by hand. Its process says at /healthz what it says."""

    def __init__(self, api: FakeApi, client: Client) -> None:
        async def leading() -> None:
            pass

        self.api = api
        self.clock = ManualClock()
        self.metrics = Metrics()
        self.process = run.Process(Settings())
        self.process._term = self.term = term.Term(
            client,
            api.configuration,
            Settings(),
            self.clock,
            leading=leading,
            is_leading=lambda: True,
            metrics=self.metrics,
            now=lambda: datetime.now(UTC),
        )

    async def watches(self) -> None:
        await eventually(lambda: all(self.api.watches(kind.plural) for kind in WATCHED))

    @property
    def reconciles(self) -> int:
        """How many there were."""
        text = self.metrics.text().decode()
        return sum(int(float(number)) for number in re.findall(r"_reconciles_total{.*} (.+)", text))

    async def has_reconciled(self, number: int) -> None:
        await eventually(lambda: self.reconciles >= number)

    async def notices_within(self, seconds: int) -> None:
        """Let that much time pass; in the end the storage container that the service names is missing."""
        for _ in range(seconds):
            await self.clock.advance(1)
        await eventually(lambda: self.accepted() == "StorageContainerNotFound")

    async def sees(self, holds: Callable[[], object]) -> None:
        """Let a little time pass, until a change that a watch reports has had its effect."""
        async with asyncio.timeout(60):
            while not holds():
                await self.clock.advance(0.001)

    async def is_at_rest(self) -> None:
        """Until no key is due, and no reconcile runs."""
        await settle()
        await eventually(lambda: self.term.queue()[0] == 0 and not self.term._workers.longest)

    def status(self) -> dict[str, Any]:
        status: dict[str, Any] = (self.api.get("embeddingservices", "minilm") or {}).get("status", {})
        return status

    async def has_downloaded(self, percent: int) -> None:
        await self.sees(lambda: self.model().get("download", {}).get("percent") == percent)

    def model(self) -> dict[str, Any]:
        model: dict[str, Any] = self.status().get("model", {})
        return model

    def accepted(self) -> str | None:
        """Reason of the condition Accepted."""
        conditions = self.status().get("conditions", ())
        return next((each["reason"] for each in conditions if each["type"] == "Accepted"), None)


@asynccontextmanager
async def a_leader(*objects: dict[str, Any]) -> AsyncIterator[Leading]:
    async with fake_api() as api, open_connection(api.configuration) as connection:
        for obj in objects:
            created = api.create(obj)
            if "status" in obj:
                api.replace({**created, "status": obj["status"]}, subresource="status")
        leader = Leading(api, Client(connection, timeout_seconds=10))
        task = asyncio.create_task(leader.term.run())
        try:
            await leader.watches()
            yield leader
        finally:
            task.cancel()
            await asyncio.wait({task})


async def test_services_that_exist_at_the_start_are_served() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await eventually(lambda: operator.api.get("services", "minilm"))


async def test_at_the_start_services_without_a_status_go_before_all_others() -> None:
    """The former leader may have died while they were created; the others are as they should be."""
    ready = {"type": "Ready", "status": "True", "reason": "ScaledToZero", "message": "Nothing runs."}
    status = {
        "replicas": 0,
        "readyReplicas": 0,
        "conditions": [{**ready, "lastTransitionTime": "2026-03-01T12:00:00Z"}],
    }
    others = [{**an_embedding_service(f"known-{number}"), "status": status} for number in range(20)]
    async with a_leader(*others, an_embedding_service("new")) as leader:
        await leader.has_reconciled(21)
        deployments = leader.api.list("deployments")
    versions = {
        each["metadata"]["labels"][SERVICE_LABEL]: int(each["metadata"]["resourceVersion"]) for each in deployments
    }
    assert sorted(versions, key=lambda name: versions[name]).index("new") < 4, "as many as there are workers"


async def test_a_service_that_comes_later_is_served() -> None:
    async with an_operator() as operator:
        await operator.watches()
        operator.api.create(an_embedding_service())
        await eventually(lambda: operator.api.get("services", "minilm"))


async def test_kopf_can_watch_the_services_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(term, "KOPF_WATCHES", RESOURCES)
    async with an_operator() as operator:
        await operator.watches()
        operator.api.create(an_embedding_service())
        await operator.is_level()
        watching = {each.user_agent.partition("/")[0] for each in operator.asked if each.verb == "watch"}
        assert watching == {"kopf", "embedding-operator"}
        service = operator.api.get("embeddingservices", "minilm")
        assert service is not None
        assert not {"annotations", "finalizers"} & set(service["metadata"])


@pytest.mark.parametrize("plural", ["deployments", "services"])
async def test_what_somebody_deletes_comes_back(plural: str) -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        (child,) = operator.api.list(plural)
        operator.api.delete(plural, child["metadata"]["name"])
        await eventually(lambda: [each["metadata"]["uid"] for each in operator.api.list(plural)])
        assert operator.api.list(plural)[0]["metadata"]["uid"] != child["metadata"]["uid"]


async def test_a_pod_that_changes_has_its_service_reconciled() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        (deployment,) = operator.api.list("deployments")
        operator.api.create(a_pod_of(deployment))
        await eventually(lambda: operator.status()["replicas"] == 1)


async def test_a_watch_that_is_cut_is_taken_up_again_without_a_list() -> None:
    async with an_operator() as operator:
        await operator.watches()
        lists = [each for each in operator.asked if each.verb == "list"]
        operator.api.disconnect_watches()
        await eventually(lambda: not any(operator.api.watches(kind.plural) for kind in WATCHED))
        await operator.watches()
        operator.api.create(an_embedding_service())
        await eventually(lambda: operator.api.get("services", "minilm"))
        assert [each for each in operator.asked if each.verb == "list"] == lists


async def test_what_was_deleted_while_a_watch_was_too_far_behind_is_noticed() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        operator.api.go_down()
        await eventually(lambda: not any(operator.api.watches(kind.plural) for kind in WATCHED))
        operator.api.delete("services", "minilm")
        operator.api.compact()
        operator.api.come_up()
        await eventually(lambda: operator.api.get("services", "minilm"))


async def test_so_is_a_storage_container_that_was_deleted_while_kopf_was_too_far_behind(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(term, "_REPAIR_ALL_AFTER", 1e9)
    async with a_leader(*SERVED_BY_A_MIRROR, a_storage_container("another")) as leader:
        await eventually(lambda: leader.accepted() == "Accepted")
        delete_unseen(leader.api, "mirror")
        await leader.notices_within(120)


async def test_and_so_is_the_only_one_that_kopf_does_not_report() -> None:
    async with a_leader(*SERVED_BY_A_MIRROR) as leader:
        await eventually(lambda: leader.accepted() == "Accepted")
        delete_unseen(leader.api, "mirror")
        await leader.watches()
        await leader.notices_within(400)


SERVED_BY_A_MIRROR = (
    a_storage_container("mirror"),
    an_embedding_service(model={"storageUri": "hf://a/b", "storageContainerName": "mirror"}),
)


def delete_unseen(api: FakeApi, name: str) -> None:
    """In the moment in which no watch is open, and too long ago for one that goes on from where it was."""
    api.disconnect_watches()
    api.delete("clusterstoragecontainers", name)
    api.compact()


async def test_a_watch_that_is_silent_for_too_long_makes_the_process_unhealthy_until_it_hears_something() -> None:
    async with a_leader() as leader:
        leader.clock.now += 600
        assert leader.process.unhealthy() is None
        leader.clock.now += 1
        assert "the watches of embeddingservices, modelcaches, clustermodelcaches, deployments" in (
            leader.process.unhealthy() or ""
        )
        leader.api.send_bookmarks()
        await eventually(lambda: leader.process.unhealthy() is None)


async def test_a_reconcile_that_does_not_end_makes_the_process_unhealthy() -> None:
    async with a_leader() as leader:
        leader.api.faults.hang("create", "deployments")
        leader.api.create(an_embedding_service())
        await eventually(
            lambda: ("create", "deployments") in [(each.verb, each.resource) for each in leader.api.writes]
        )
        leader.clock.now += 120
        assert leader.process.unhealthy() is None
        leader.clock.now += 1
        assert leader.process.unhealthy() == "a reconcile has been running for 121 s"


async def test_neither_the_operator_nor_kopf_writes_or_reads_anything_when_nothing_changes() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        await operator.watches()
        await operator.renewals(2)
        asked, service = operator.asked, operator.api.get("embeddingservices", "minilm")
        await operator.renewals(2)
        assert operator.asked == asked
        assert service == operator.api.get("embeddingservices", "minilm")
        assert service is not None
        assert not {"annotations", "finalizers"} & set(service["metadata"])


async def test_a_download_costs_one_status_in_five_seconds_and_a_service_that_is_ready_costs_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with pods() as server, a_leader(an_embedding_service()) as leader:
        monkeypatch.setattr(questions, "_host", lambda pod: f"127.0.0.1:{server.port}/{pod.name}")
        await leader.has_reconciled(1)
        pod = leader.api.create(a_pod_of(leader.api.list("deployments")[0]))
        paths = {port: f"/{pod['metadata']['name']}:{port}" for port in (8080, 8090)}
        server.replies[f"{paths[8090]}/progress"] = as_json(done_bytes=1, total_bytes=10, bytes_per_second=1)
        pod = set_status(leader.api, pod, {"initContainerStatuses": [a_container("storage-initializer")]})
        await leader.has_downloaded(10)
        await leader.is_at_rest()

        leader.api.requests.clear()
        for done in (5, 9):
            server.replies[f"{paths[8090]}/progress"] = as_json(done_bytes=done, total_bytes=10, bytes_per_second=1)
            await leader.clock.advance(5)
            await leader.has_downloaded(10 * done)
        await leader.is_at_rest()
        written = ("update", "embeddingservices/status")
        assert [(each.verb, each.resource) for each in leader.api.requests] == [written, written]

        server.replies[f"{paths[8080]}/backend"] = as_json(backend="vllm", backend_reason="It is exact")
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-03-01T12:00:00Z"}
        containers = {"containerStatuses": [a_container("server", ready=True)], "conditions": [condition]}
        set_status(
            leader.api, pod, {"initContainerStatuses": [{"name": "storage-initializer", **ended()}], **containers}
        )
        await leader.sees(lambda: leader.status()["backend"] == "vllm")
        assert "download" not in leader.model()
        await leader.is_at_rest()

        leader.api.requests.clear()
        seen = dict(server.seen)
        await leader.clock.advance(200)
        await leader.is_at_rest()
        assert (dict(server.seen), leader.api.requests) == (seen, [])
        assert server.seen[f"{paths[8080]}/backend"] == 1


def a_container(name: str, **fields: Any) -> dict[str, Any]:
    """The status of one that runs."""
    return {"name": name, "state": {"running": {"startedAt": "2026-03-01T11:00:00Z"}}, **fields}


def set_status(api: FakeApi, pod: dict[str, Any], status: dict[str, Any]) -> dict[str, Any]:
    return api.replace({**pod, "status": {"phase": "Running", **status}}, subresource="status")


async def test_a_resync_of_forty_services_costs_one_list_a_kind_and_no_call_for_any_service(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(term, "_REPAIR_ALL_AFTER", 1e9)
    names = [f"s-{number}" for number in range(40)]
    async with a_leader(*map(an_embedding_service, names), a_storage_container("mirror")) as leader:
        await leader.has_reconciled(41)
        await leader.clock.advance(120)  # with what our own writes and kopf's first list bring about
        await eventually(lambda: leader.term.queue()[0] == 0)
        before = leader.reconciles
        leader.api.requests.clear()
        await leader.clock.advance(3600 * 1.1)
        await leader.has_reconciled(before + 41)
        leader.api.disconnect_watches()  # reflectors list when their watches end
        await eventually(lambda: not any(leader.api.watches(kind.plural) for kind in WATCHED))
        await leader.watches()
        calls = leader.api.requests
        assert {each.verb for each in calls} == {"list", "watch"}
        lists = [each.resource for each in calls if each.verb == "list"]
        assert sorted(lists) == sorted(kind.plural for kind in WATCHED)


async def test_an_edited_storage_container_lists_nothing_and_reads_no_service() -> None:
    names = [f"s-{number}" for number in range(5)]
    async with an_operator(*map(an_embedding_service, names), a_storage_container("mirror")) as operator:
        for name in names:
            await operator.is_level(name)
        await operator.watches()
        await operator.renewals(1)
        operator.api.requests.clear()
        mirror = operator.api.get("clusterstoragecontainers", "mirror") or {}
        operator.api.replace({**mirror, "spec": {**mirror["spec"], "supportedUriFormats": [{"prefix": "s3://"}]}})
        await eventually(lambda: operator.written)
        await operator.renewals(1)
        assert [(each.verb, each.resource) for each in operator.asked] == [
            ("update", "clusterstoragecontainers/status")
        ]


async def test_a_service_costs_three_writes_and_no_event() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        await operator.renewals(1)
        assert [(each.verb, each.resource) for each in operator.written] == [
            ("create", "deployments"),
            ("create", "services"),
            ("update", "embeddingservices/status"),
        ]


async def test_a_restart_writes_nothing_and_reads_only_lists() -> None:
    async with fake_api() as api:
        api.create(an_embedding_service())
        first = Running(api, Settings(lease_seconds=5))
        await first.is_level()
        api.create(a_pod_of(api.list("deployments")[0]))
        await eventually(lambda: first.status()["replicas"] == 1)
        await first.stop()
        api.requests.clear()
        second = Running(api, Settings(lease_seconds=5))
        await second.watches()
        await second.renewals(2)
        await second.stop()
        assert second.written == []
        assert {each.verb for each in second.asked} == {"list", "watch"}


async def test_without_the_lease_nothing_is_watched_and_nothing_written() -> None:
    async with an_operator(an_embedding_service(), a_lease("another")) as operator:
        await eventually(lambda: operator.api.requests.count(operator.of_lease("get")) > 2)
        assert operator.asked == []
        assert operator.api.writes == []
        assert operator.process.not_ready() is None  # it could lead


async def test_when_the_leader_seems_dead_everything_is_listed_before_its_lease_expires() -> None:
    async with an_operator(an_embedding_service(), a_lease("another", seconds=5)) as operator:
        await operator.is_level()
        took_over = operator.api.requests.index(operator.of_lease("update"))
        before = [each for each in operator.api.requests[:took_over] if each.resource != "leases"]
        assert {each.resource for each in before if each.verb == "list"} >= {kind.plural for kind in WATCHED}
        assert {each.verb for each in before} <= {"list", "watch"}


async def test_a_clean_stop_gives_the_lease_back() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        await operator.stop()
        lease = operator.api.get("leases", LEASE)
        assert lease is not None
        assert not lease["spec"].get("holderIdentity")


async def test_a_leader_that_lost_the_lease_stands_by_and_leads_again() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        taken = operator.api.replace({**operator.api.get("leases", LEASE), "spec": a_lease("another")["spec"]})  # type: ignore[dict-item]
        await eventually(lambda: not any(operator.api.watches(kind.plural) for kind in WATCHED))
        operator.api.delete("deployments", operator.api.list("deployments")[0]["metadata"]["name"])
        assert operator.api.get("leases", LEASE) == taken
        operator.api.replace({**taken, "spec": {**taken["spec"], "holderIdentity": ""}})
        await eventually(lambda: operator.api.list("deployments"))


async def test_an_api_server_that_goes_away_and_comes_back_finds_the_same_process_at_work() -> None:
    async with an_operator(an_embedding_service()) as operator:
        await operator.is_level()
        before = operator.process._term
        operator.api.go_down()
        await eventually(lambda: before is not None and not before.is_leading())  # the Lease cannot be renewed
        operator.api.delete("services", "minilm")
        operator.api.come_up()
        await eventually(lambda: operator.api.get("services", "minilm"))
        assert operator.process._term is before


async def test_custom_resources_that_are_not_served_yet_are_waited_for(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(run, "_PAUSE", 0.01)
    async with fake_api() as api:
        kinds = dict(api.store.kinds)
        api.forget("embeddingservices")
        operator = Running(api, Settings(lease_seconds=5))
        await eventually(lambda: "does not know embeddingservices yet" in caplog.text)
        assert operator.process.not_ready() is not None
        api.store.kinds.update(kinds)
        api.create(an_embedding_service())
        await eventually(lambda: api.get("services", "minilm"))
        assert operator.process.not_ready() is None
        await operator.stop()


async def test_every_right_that_the_operator_asks_for_is_used() -> None:
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "token", "namespace": "default"}}
    secret["metadata"]["labels"] = {USE_LABEL: "true"}  # type: ignore[index]
    model = {"storageUri": MINILM, "tokenSecretRef": {"name": "token"}}
    containers = [
        {"apiVersion": API_VERSION, "kind": "StorageContainer", "metadata": {"name": "a", "namespace": "default"}},
        {"apiVersion": API_VERSION, "kind": "ClusterStorageContainer", "metadata": {"name": "a"}},
    ]
    cache = {"apiVersion": API_VERSION, "kind": "ModelCache", "metadata": {"name": "c", "namespace": "default"}}
    async with an_operator(
        {**secret, "data": {"HF_TOKEN": ""}},
        an_embedding_service(model=model, replicas=2),
        an_embedding_service("cached", model={"storageUri": "hf://a/b", "cache": {"size": "1Gi"}}),
        *({**each, "spec": {"container": {}}} for each in containers),
        {**cache, "spec": {"size": "1Gi", "models": [{"storageUri": "hf://a/b"}]}},
        a_cluster_cache("hf://a/c"),
    ) as operator:
        await operator.is_level()
        await operator.is_level("cached")
        await eventually(lambda: (operator.api.get("modelcaches", "c") or {}).get("status"))
        used = {(call.resource.partition("/")[0], call.verb) for call in operator.api.requests}
    # Rollouts and failures use the others; tests of the executor do.
    by_others = {
        *((plural, verb) for plural in CHILD_PLURALS for verb in ("get", "update", "patch", "delete")),
        ("pods", "patch"),
        ("events", "create"),
        ("events", "list"),
        ("leases", "update"),
        *((kind, "get") for kind in (each.plural for each in RESOURCES)),
    }
    assert used | by_others == {(kind.plural, verb.partition(" ")[0]) for kind in KINDS for verb in kind.verbs}


async def test_a_service_is_ready_again_soon_after_its_deleted_kubernetes_service_is_back() -> None:
    async with an_operator(an_embedding_service(replicas=0)) as operator:
        await operator.is_level()
        (deployment,) = operator.api.list("deployments")
        operator.api.replace({**deployment, "status": {"observedGeneration": 1}}, subresource="status")
        await eventually(lambda: is_ready(operator))
        operator.api.delete("services", "minilm")
        await eventually(lambda: not is_ready(operator))
        await eventually(lambda: is_ready(operator))


def is_ready(operator: Running) -> bool:
    conditions = operator.status().get("conditions", ())
    return any((each["type"], each["status"]) == ("Ready", "True") for each in conditions)
