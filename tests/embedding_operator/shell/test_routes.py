"""Each change reaches the one key that it concerns."""

from typing import Any

from embedding_operator.constants import API_VERSION, SERVICE_LABEL
from embedding_operator.core.objects import ObjectRef
from embedding_operator.kinds import (
    CLUSTER_STORAGE_CONTAINER,
    DEPLOYMENT,
    EMBEDDING_SERVICE,
    MODEL_CACHE,
    PERSISTENT_VOLUME_CLAIM,
    POD,
    STORAGE_CONTAINER,
    Kind,
)
from embedding_operator.shell.backoff import Backoff
from embedding_operator.shell.queue import WorkQueue
from embedding_operator.shell.routes import Routes
from embedding_operator.shell.store import Store
from support.clock import ManualClock

KEY = ObjectRef(API_VERSION, "EmbeddingService", "n", "s")


class World:
    def __init__(self, *, is_open: bool = True) -> None:
        self.clock = ManualClock()
        self.queue: WorkQueue[ObjectRef] = WorkQueue(self.clock, Backoff())
        self.store = Store()
        self.routes = Routes(self.queue, self.store, self.queue.forget)
        self.routes.is_open = is_open
        self.store.on_change = self.routes

    def put(self, kind: Kind, name: str, version: int = 1, **metadata: Any) -> None:
        meta = {"namespace": "n" if kind.namespaced else None, "name": name, "uid": name, **metadata}
        self.store.upsert(kind, {"metadata": {**meta, "resourceVersion": str(version)}, "spec": {}})

    async def keys(self, *, after: float = 0.0) -> list[ObjectRef]:
        await self.clock.advance(after)
        keys = [await self.queue.get() for _ in range(len(self.queue))]
        for key in keys:
            self.queue.done(key)
        return keys


async def test_while_the_lists_come_in_nothing_is_reconciled() -> None:
    world = World(is_open=False)
    world.put(EMBEDDING_SERVICE, "s")
    assert await world.keys(after=10) == []


async def test_a_user_s_change_is_reconciled_at_once() -> None:
    world = World()
    world.put(EMBEDDING_SERVICE, "s")
    assert await world.keys() == [KEY]


async def test_changes_of_children_and_pods_within_a_moment_are_one_reconcile_of_their_service() -> None:
    world = World()
    world.put(EMBEDDING_SERVICE, "s")
    await world.keys()
    world.put(DEPLOYMENT, "d", labels={SERVICE_LABEL: "s"})
    world.put(POD, "p", labels={SERVICE_LABEL: "s"})
    assert await world.keys() == []
    assert await world.keys(after=1) == [KEY]


async def test_what_is_labelled_for_a_service_that_does_not_exist_is_ignored() -> None:
    world = World()
    world.put(POD, "p", labels={SERVICE_LABEL: "nobody"})
    world.put(POD, "q")
    assert await world.keys(after=1) == []


async def test_a_service_that_is_deleted_is_reconciled_once_more_and_its_timers_end() -> None:
    world = World()
    world.put(EMBEDDING_SERVICE, "s")
    await world.keys()
    world.queue.add_later(KEY, 100)
    world.store.delete(EMBEDDING_SERVICE, "n", "s", uid=None, version=None)
    assert await world.keys() == [KEY]
    assert await world.keys(after=200) == []


async def test_a_service_that_names_a_claim_or_stops_to_concerns_the_owner_of_the_claim() -> None:
    world = World()
    world.put(EMBEDDING_SERVICE, "s")
    world.put(PERSISTENT_VOLUME_CLAIM, "s-cache", labels={SERVICE_LABEL: "s"})
    await world.keys(after=1)
    metadata = {"name": "t", "namespace": "n", "uid": "t"}
    models: tuple[dict[str, Any], ...] = ({"cache": {"persistentVolumeClaim": "s-cache"}}, {})
    for version, model in enumerate(models, 1):
        raw = {"metadata": {**metadata, "resourceVersion": str(version)}, "spec": {"model": model}}
        world.store.upsert(EMBEDDING_SERVICE, raw)
        assert KEY in await world.keys(after=1)
    world.put(EMBEDDING_SERVICE, "t", version=3)
    assert KEY not in await world.keys(after=1)


async def test_what_a_job_writes_to_a_cache_concerns_the_model_caches_of_its_namespace() -> None:
    world = World()
    for name, namespace in (("c", "n"), ("d", "elsewhere")):
        world.put(MODEL_CACHE, name, namespace=namespace)
    await world.keys()
    mount = {"name": "cache", "mountPath": "/cache"}
    volume = {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}}
    metadata = {"name": "p", "namespace": "n", "uid": "p", "resourceVersion": "9"}
    spec = {"containers": [{"volumeMounts": [mount]}], "volumes": [volume]}
    world.store.upsert(POD, {"metadata": metadata, "spec": spec})
    assert await world.keys(after=1) == [ObjectRef(API_VERSION, "ModelCache", "n", "c")]


async def test_a_storage_container_is_a_key_of_its_own() -> None:
    world = World()
    world.put(STORAGE_CONTAINER, "a")
    world.put(CLUSTER_STORAGE_CONTAINER, "b")
    assert await world.keys() == [
        ObjectRef(API_VERSION, "StorageContainer", "n", "a"),
        ObjectRef(API_VERSION, "ClusterStorageContainer", None, "b"),
    ]
