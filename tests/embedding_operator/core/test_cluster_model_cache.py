"""A ClusterModelCache: its Jobs alone write to the volume, and services of other namespaces mount it."""

from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.model_cache.plan import plan_cache
from embedding_operator.core.model_cache.snapshot import CacheSnapshot
from embedding_operator.settings import Settings
from support.builders import COMMIT, NOW, SETTINGS, Raw, a_service, a_storage_container, ended
from support.caches import CacheWorld, a_cache, a_cluster_cache
from support.pure_cluster import PureCluster, a_shared_claim

A, B = "hf://example/a", "hf://example/b"
PATH = "hf-example-a-1"
OTHER_COMMIT = "0" * 40


def watching(*namespaces: str) -> Settings:
    return SETTINGS.model_copy(update={"namespaces": namespaces})


def a_world(*uris: str, **known: Any) -> CacheWorld:
    world = CacheWorld(a_cluster_cache(*(uris or (A,))), **known)
    world.settle()
    return world


def a_ready_world(**known: Any) -> CacheWorld:
    world = a_world(**known)
    world.succeed(A, path=PATH, revision=COMMIT)
    world.settle()
    world.pass_time(days=1)
    return world


def keep_of(world: CacheWorld, uri: str) -> list[str]:
    args = world.job(uri)["spec"]["template"]["spec"]["containers"][0]["args"]
    return [path for each in args if each.startswith("--keep=") for path in each[len("--keep=") :].split(",")]


def a_ready_cache(uri: str = A, *, revision: str | None = COMMIT, **spec: Any) -> Raw:
    model = {"storageUri": uri, "state": "Ready", "reason": "Downloaded", "message": "", "path": PATH, "bytes": 9}
    model |= {"revision": revision} if revision else {}
    status = {"claim": "models", "manager": SETTINGS.manager, "models": [model]}
    return {**a_cluster_cache(uri, **spec), "status": status}


def a_cluster(*caches: Raw, uri: str = A, claims: dict[str, Raw | None] | None = None, **model: Any) -> PureCluster:
    cluster = PureCluster(a_service(model={"storageUri": uri, **model}))
    cluster.model_caches, cluster.claims = list(caches), claims or {}
    cluster.settle()
    return cluster


def a_serving_cluster(*caches: Raw, **fields: Any) -> PureCluster:
    cluster = a_cluster(*caches, **fields)
    if cluster.jobs:
        cluster.run_job(ended(0, f'{{"weights_bytes": 9, "revision": "{COMMIT}"}}'))
        cluster.settle()
    cluster.run(cluster.serving, initializer=ended(0, '{"weights_bytes": 9}'))
    cluster.after(3)
    assert cluster.condition("Ready")[0] == "True"
    return cluster


def mounts(cluster: PureCluster) -> list[tuple[str, str]]:
    (deployment,) = cluster.deployments
    return list(mounted(deployment))


def accepted(cluster: PureCluster) -> str:
    (found,) = (each for each in cluster.status["conditions"] if each["type"] == "Accepted")
    return str(found["message"])


def does_by_itself(cluster: PureCluster) -> bool:
    (job,) = cluster.jobs
    return bool(job["spec"]["template"]["spec"]["containers"][0]["args"][0] == "resolve")


def test_its_jobs_run_in_its_namespace_and_write_to_the_claim_there() -> None:
    job = a_world().job(A)
    assert job["metadata"]["namespace"] == "platform"
    assert job["metadata"]["labels"]["serving.embeddings.dev/cluster-model-cache"] == "shared"
    assert job["metadata"]["ownerReferences"][0]["kind"] == "ClusterModelCache"
    assert {"claimName": "models"} in [
        each.get("persistentVolumeClaim") for each in job["spec"]["template"]["spec"]["volumes"]
    ]


def test_what_is_ready_is_not_evicted_for_another_model() -> None:
    world = a_ready_world()
    world.edit(models=[{"storageUri": A}, {"storageUri": B}])
    world.settle()
    assert keep_of(world, B) == [PATH]


def test_what_a_deployment_of_any_namespace_mounts_is_not_evicted() -> None:
    world = a_world(mounted=frozenset({"mounted-1"}))
    assert keep_of(world, A) == ["mounted-1"]


def test_made_up_paths_that_are_mounted_keep_no_job_from_starting_and_nothing_that_is_ready_from_staying() -> None:
    world = a_ready_world(mounted=frozenset(f"{each:0120}" for each in range(1000)))
    world.edit(models=[{"storageUri": A}, {"storageUri": B}])
    world.settle()
    assert keep_of(world, B) == [PATH]


def test_what_another_cluster_cache_has_ready_on_the_same_volume_is_not_evicted() -> None:
    on_another_volume = {**a_ready_cache(name="far"), "status": {"claim": "elsewhere", "models": []}}
    world = a_world(B, cluster_caches=(a_ready_cache(name="second"), on_another_volume))
    assert keep_of(world, B) == [PATH]


def test_a_model_that_was_removed_stays_for_minutes_since_a_service_may_have_been_planned_with_it() -> None:
    world = a_ready_world()
    world.edit(models=[{"storageUri": B}])
    world.settle()
    assert keep_of(world, B) == [PATH]
    assert world.state(A)["state"] == "Removed"
    assert world.cache["status"]["ready"] == "0/1"


def test_a_model_that_was_removed_is_forgotten_in_time() -> None:
    world = a_ready_world()
    world.edit(models=[])
    world.settle()
    assert world.plan().requeue_after == timedelta(minutes=3)
    world.pass_time(minutes=3)
    world.settle()
    assert world.states == []


def test_a_model_that_was_removed_is_listed_while_deployments_mount_it() -> None:
    world = a_ready_world(mounted=frozenset({PATH}))
    world.edit(models=[])
    world.settle()
    world.pass_time(hours=1)
    world.settle()
    assert world.states == ["Removed"]
    assert world.plan().requeue_after == timedelta(minutes=10)
    world.known["mounted"] = frozenset()
    world.settle()
    assert world.states == []


@pytest.mark.parametrize("manager", [SETTINGS.manager, "another/operator"])
def test_what_another_cluster_cache_lists_as_removed_is_not_evicted_however_long_ago_it_was(manager: str) -> None:
    cache = a_ready_cache(name="second")
    (model,) = cache["status"]["models"]
    removed = {**model, "state": "Removed", "since": (NOW - timedelta(days=1)).isoformat()}
    world = a_world(
        B, cluster_caches=({**cache, "status": {**cache["status"], "manager": manager, "models": [removed]}},)
    )
    assert keep_of(world, B) == [PATH]


def test_a_model_that_lacks_the_room_of_one_that_is_removed_and_mounted_is_not_tried_until_that_may_go() -> None:
    world = a_ready_world(mounted=frozenset({PATH}))
    world.edit(models=[{"storageUri": B}])
    world.pass_time(hours=1)
    world.settle()
    world.pass_time(hours=1)
    world.fail(B, "InsufficientStorage: no room")
    world.settle()
    assert (world.states, world.active()) == (["Failed", "Removed"], [])
    assert world.state(B)["retryAt"] == "2026-03-03T14:00:00Z"
    world.pass_time(hours=1)
    world.settle()
    assert world.active() == [], "it is mounted still"
    world.known["mounted"] = frozenset()
    world.settle()
    assert (world.states, world.active()) == (["Pending"], [B])


def test_a_model_for_which_another_one_was_removed_is_tried_again_when_that_may_be_evicted() -> None:
    world = a_ready_world()
    world.edit(models=[{"storageUri": B}])
    world.settle()
    world.fail(B, "InsufficientStorage: no room")
    world.settle()
    assert world.state(B)["retryAt"] == "2026-03-02T12:03:00Z"
    world.pass_time(minutes=3)
    world.settle()
    assert keep_of(world, B) == []
    world.fail(B, "InsufficientStorage: no room")
    world.settle()
    assert world.state(B)["retryAt"] == "2026-03-03T12:03:00Z"


def test_a_job_that_lacked_room_and_came_late_is_tried_again_at_once() -> None:
    world = a_ready_world()
    world.edit(models=[{"storageUri": B}])
    world.settle()
    world.pass_time(minutes=3)
    world.settle()
    world.fail(B, "InsufficientStorage: no room")
    world.settle()
    assert keep_of(world, B) == []
    assert world.active() == [B]


def test_a_model_that_is_listed_again_is_looked_for_on_the_volume() -> None:
    world = a_ready_world()
    world.edit(models=[])
    world.settle()
    world.edit(models=[{"storageUri": A}])
    world.settle()
    assert world.active() == [A]
    assert world.states == ["Pending"]


def test_operators_that_do_not_watch_its_namespace_write_the_same_status() -> None:
    statuses = [a_world(settings=watching(each)).cache["status"] for each in ("a", "b")]
    assert statuses[0] == statuses[1]


def test_a_cache_whose_namespace_the_operator_does_not_watch_is_left_to_one_that_does() -> None:
    world = a_world(settings=watching("a", "b"))
    assert world.condition("Stalled")[:2] == ("True", "NamespaceNotWatched")
    assert world.condition()[2].startswith("spec.namespace: no operator watches platform: add it to watchNamespaces")
    assert "manager" not in world.cache["status"]
    assert world.jobs == {}


@pytest.mark.parametrize(
    ("allowed", "namespaces"), [(["a", "c", "d"], "c, d"), (["a"], None), (["*"], None), (["*", "c"], "c")]
)
def test_allowed_namespaces_that_the_operator_does_not_watch_are_named(
    allowed: list[str], namespaces: str | None
) -> None:
    snapshot = CacheSnapshot(a_cluster_cache(A, allowed=allowed))
    status = plan_cache(snapshot, watching("platform", "a"), NOW).status
    assert status is not None
    found = [each for each in status["conditions"] if each["type"] == "NamespacesNotWatched"]
    assert [each["reason"] for each in found] == ["NamespaceNotWatched"] * bool(namespaces)
    for each in found:
        assert each["message"].startswith(f"spec.allowedNamespaces: this operator does not watch {namespaces}: ")


def test_a_service_mounts_a_ready_model_without_a_job_an_initializer_and_a_token() -> None:
    cluster = a_cluster(a_ready_cache(), tokenSecretRef={"name": "hf-secret"})
    assert cluster.condition("Accepted")[0] == "False", "its own Secret must exist nevertheless"
    cluster = a_cluster(a_ready_cache())
    assert cluster.jobs == []
    assert mounts(cluster) == [("models", PATH)]
    pod = cluster.deployments[0]["spec"]["template"]["spec"]
    assert "initContainers" not in pod
    assert all(each["readOnly"] for each in pod["containers"][0]["volumeMounts"] if each["name"] == "model")
    assert "ecret" not in str(pod)


def test_the_volume_itself_is_mounted_read_only() -> None:
    (deployment,) = a_cluster(a_ready_cache()).deployments
    sources = [each.get("persistentVolumeClaim") for each in deployment["spec"]["template"]["spec"]["volumes"]]
    assert {"claimName": "models", "readOnly": True} in sources


@pytest.mark.parametrize(("uri", "revision"), [(f"{A}:{COMMIT}", COMMIT), ("s3://bucket/model", None)])
def test_a_model_that_cannot_move_is_mounted_too(uri: str, revision: str | None) -> None:
    cluster = a_cluster(a_ready_cache(uri, revision=revision), uri=uri)
    assert (cluster.jobs, mounts(cluster)) == ([], [("models", PATH)])


@pytest.mark.parametrize(
    "cache",
    [
        a_ready_cache(allowed=["platform"]),
        a_ready_cache(allowed=[]),
        a_ready_cache(B),
        {**a_ready_cache(), "status": {**a_ready_cache()["status"], "manager": "another/operator"}},
    ],
    ids=["another namespace is allowed", "none is allowed", "another model", "another operator fills it"],
)
def test_a_service_that_may_not_use_the_cache_downloads_by_itself(cache: Raw) -> None:
    cluster = a_cluster(cache)
    assert does_by_itself(cluster)
    assert accepted(cluster) == "The spec is valid."


@pytest.mark.parametrize(
    ("claim", "trouble"),
    [
        (None, "does not exist"),
        (a_shared_claim("models", phase="Pending"), "is not bound to a volume (Pending)"),
        ({**a_shared_claim("models"), "metadata": {"deletionTimestamp": "2026-03-01T12:00:00Z"}}, "is being deleted"),
        (a_shared_claim("models", "ReadWriteOnce"), "cannot be mounted on several nodes (ReadWriteOnce)"),
    ],
)
def test_a_service_without_a_claim_that_can_be_mounted_downloads_by_itself_and_says_why(
    claim: Raw | None, trouble: str
) -> None:
    cluster = a_serving_cluster(a_ready_cache(), claims={"models": claim})
    assert mounts(cluster) == []
    assert (
        f"ClusterModelCache shared has the model, but PersistentVolumeClaim models of namespace default {trouble}: "
        "each pod downloads it."
    ) in accepted(cluster)


def test_a_claim_that_is_for_reading_alone_is_enough() -> None:
    cluster = a_cluster(a_ready_cache(), claims={"models": a_shared_claim("models", "ReadOnlyMany")})
    assert mounts(cluster) == [("models", PATH)]


def test_a_service_that_mounts_one_model_of_the_cache_may_change_to_another_one() -> None:
    cache = a_ready_cache()
    (model,) = cache["status"]["models"]
    both = [model, {**model, "storageUri": B, "path": "hf-example-b-1"}]
    cluster = a_serving_cluster({**cache, "status": {**cache["status"], "models": both}})
    cluster.change(model={"storageUri": B})
    cluster.settle()
    assert cluster.jobs == []
    assert sorted(path for each in cluster.deployments for path in mounted(each)) == [
        ("models", PATH),
        ("models", "hf-example-b-1"),
    ]


def test_a_status_with_a_path_that_no_job_reports_is_not_mounted() -> None:
    cache = a_ready_cache()
    (model,) = cache["status"]["models"]
    cluster = a_cluster({**cache, "status": {**cache["status"], "models": [{**model, "path": "../../etc"}]}})
    assert does_by_itself(cluster)


def test_a_cache_of_the_namespace_wins() -> None:
    own = {**a_cache(A, name="z", claim="own"), "status": {**a_ready_cache()["status"], "claim": "own"}}
    cluster = a_cluster(a_ready_cache(), own)
    (job,) = cluster.jobs
    assert "'claimName': 'own'" in str(job)


def test_a_service_that_a_storage_container_of_its_namespace_downloads_for_uses_no_cluster_cache() -> None:
    cluster = PureCluster(
        a_service(model={"storageUri": A}), a_storage_container("mine", namespace="default", prefixes=["hf://"])
    )
    cluster.model_caches = [a_ready_cache()]
    cluster.settle()
    assert does_by_itself(cluster)


def test_a_service_that_runs_stays_as_it_is_when_a_cluster_cache_appears() -> None:
    cluster = a_serving_cluster()
    before = cluster.deployments
    cluster.model_caches = [a_ready_cache()]
    cluster.settle()
    assert cluster.deployments == before


@pytest.mark.parametrize("change", ["another commit", "not ready", "no claim", "another manager", "an empty status"])
def test_a_service_that_mounts_a_model_keeps_it(change: str) -> None:
    cluster = a_serving_cluster(a_ready_cache())
    before = cluster.deployments
    ready = a_ready_cache()["status"]
    statuses = {
        "another commit": a_ready_cache(revision=OTHER_COMMIT)["status"],
        "not ready": {**ready, "models": []},
        "another manager": {**ready, "manager": "another/operator"},
        "an empty status": {},
    }
    cluster.model_caches = [{**a_ready_cache(), "status": statuses.get(change, ready)}]
    cluster.claims = {"models": None} if change == "no claim" else {}
    cluster.settle()
    assert cluster.deployments == before


@pytest.mark.parametrize("caches", [[], [a_ready_cache(allowed=["elsewhere", "platform"])]], ids=["deleted", "denied"])
def test_without_the_cache_a_service_downloads_the_same_commit_in_the_same_revision(caches: list[Raw]) -> None:
    cluster = a_serving_cluster(a_ready_cache())
    revision = cluster.serving
    cluster.model_caches = caches
    cluster.settle()
    (deployment,) = cluster.deployments
    assert (cluster.serving, mounts(cluster)) == (revision, [])
    assert f"{A}:{COMMIT}" in str(deployment["spec"]["template"]["spec"]["initContainers"])


@pytest.mark.parametrize("allowed", [["*"], ["default"]])
def test_a_service_cannot_have_its_job_write_to_the_volume(allowed: list[str]) -> None:
    cluster = a_cluster(a_ready_cache(allowed=allowed), cache={"persistentVolumeClaim": "models"})
    assert cluster.jobs == []
    assert cluster.condition("Accepted") == ("False", "InvalidSpec")
    assert accepted(cluster).startswith(
        "spec.model.cache: PersistentVolumeClaim models is that of ClusterModelCache shared, which alone writes to it: "
    )


def test_a_claim_of_that_name_in_a_namespace_that_is_not_allowed_is_another_one() -> None:
    cluster = a_cluster(a_ready_cache(allowed=["elsewhere"]), cache={"persistentVolumeClaim": "models"})
    assert cluster.condition("Accepted")[0] == "True"


def test_a_cache_of_a_namespace_cannot_write_to_the_volume() -> None:
    world = CacheWorld(a_cache(A, claim="models"), cluster_caches=(a_ready_cache(),))
    world.settle()
    assert world.jobs == {}
    assert world.condition()[1] == "InvalidSpec"
    assert world.condition()[2].startswith("spec.persistentVolumeClaim: PersistentVolumeClaim models is that of ")
