"""Services whose model a ModelCache of the namespace has: they mount it, and download nothing."""

from typing import Any

import pytest

from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.model_cache.shared import SharedCache, held_by, shared_cache
from support.builders import COMMIT, Raw, a_service, a_storage_container, ended, running
from support.caches import a_cache
from support.pure_cluster import PureCluster

BRANCH = "hf://example/model"
FIXED = f"{BRANCH}:{COMMIT}"
OTHER_COMMIT = "0" * 40
PATH = "hf-example-model-1"
REPORT = ended(0, f'{{"weights_bytes": 9, "revision": "{COMMIT}", "path": "{PATH}"}}')
RESOLVED = ended(0, f'{{"weights_bytes": 9, "revision": "{COMMIT}"}}')


def a_ready_cache(uri: str = BRANCH, *, state: str = "Ready", revision: str | None = COMMIT, **metadata: Any) -> Raw:
    model = {"storageUri": uri, "state": state, "reason": "Downloaded", "message": "", "path": PATH}
    model |= {"revision": revision} if revision else {}
    cache = a_cache(uri)
    status = {"claim": "models", "models": [model]}
    return {**cache, "metadata": {**cache["metadata"], **metadata}, "status": status}


def a_cluster(*caches: Raw, uri: str = BRANCH, **model: Any) -> PureCluster:
    cluster = PureCluster(a_service(model={"storageUri": uri, **model}))
    cluster.model_caches = list(caches)
    cluster.settle()
    return cluster


def a_running_cluster(*caches: Raw, report: Raw = REPORT, **fields: Any) -> PureCluster:
    cluster = a_cluster(*caches, **fields)
    if cluster.jobs:
        cluster.run_job(report)
        cluster.settle()
    cluster.run(cluster.serving, initializer=ended(0, '{"weights_bytes": 9}'))
    cluster.after(3)
    assert cluster.condition("Ready")[0] == "True"
    return cluster


def command(cluster: PureCluster) -> list[str]:
    (job,) = cluster.jobs
    args: list[str] = job["spec"]["template"]["spec"]["containers"][0]["args"]
    return args


def shared(*caches: Raw) -> list[SharedCache]:
    return [each for each in map(shared_cache, caches) if each is not None]


@pytest.mark.parametrize("uri", [BRANCH, FIXED, f"{BRANCH}@{COMMIT}"])
def test_a_model_is_held_by_its_uri_and_by_its_commit(uri: str) -> None:
    found = held_by(uri, shared(a_ready_cache()))
    assert found is not None
    assert (found.cache.claim, found.model.revision) == ("models", COMMIT)


@pytest.mark.parametrize(
    ("uri", "cache"),
    [
        (f"{BRANCH}:main", a_ready_cache()),
        ("s3://bucket/model", a_ready_cache("oci://registry.example/another:1", revision=f"sha256:{'a' * 64}")),
        ("oci://registry.example/model:1", a_ready_cache("oci://registry.example/another:1", revision="c0ffee")),
        ("https://host/model.tar.gz", a_ready_cache("ms://example/another")),
        (f"{BRANCH}:{OTHER_COMMIT}", a_ready_cache()),
        ("hf://example/another", a_ready_cache()),
        (BRANCH, a_ready_cache(state="Downloading")),
        (BRANCH, a_ready_cache(state="Evicted")),
        (BRANCH, a_ready_cache(deletionTimestamp="2026-03-01T12:00:00Z")),
        (BRANCH, a_cache(BRANCH)),
        ("not a uri", a_ready_cache()),
    ],
)
def test_a_model_is_not_held_by_a_cache_that_has_not_that_version_ready(uri: str, cache: Raw) -> None:
    assert held_by(uri, shared(cache)) is None


def test_a_model_without_a_commit_is_held_by_its_uri() -> None:
    assert held_by("s3://b/m", shared(a_ready_cache("s3://b/m", revision=None))) is not None


def test_of_several_caches_the_first_by_name_is_used() -> None:
    found = held_by(BRANCH, shared(a_ready_cache(name="z"), a_ready_cache(name="a")))
    assert found is not None
    assert found.cache.location.name == "a"


@pytest.mark.parametrize("uri", [BRANCH, FIXED])
def test_a_new_service_mounts_the_model_of_a_cache_at_the_commit_of_the_cache(uri: str) -> None:
    cluster = a_cluster(a_ready_cache(), uri=uri)
    assert command(cluster)[:3] == ["cache", FIXED, "/cache"], "it finds the model there, and asks the hub nothing"
    cluster.run_job(REPORT)
    cluster.settle()
    (deployment,) = cluster.deployments
    assert list(mounted(deployment)) == [("models", PATH)]
    volumes = deployment["spec"]["template"]["spec"]["volumes"]
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models"}} in volumes, "as in earlier releases"
    assert "initContainers" not in deployment["spec"]["template"]["spec"]


def test_a_model_that_no_cache_has_is_downloaded_by_each_pod() -> None:
    cluster = a_running_cluster(a_ready_cache("hf://example/another"), report=RESOLVED)
    (deployment,) = cluster.deployments
    assert list(mounted(deployment)) == []


@pytest.mark.parametrize("uri", [BRANCH, FIXED, "s3://bucket/model"])
def test_a_service_that_runs_stays_as_it_is_when_a_cache_appears(uri: str) -> None:
    cluster = a_running_cluster(uri=uri, report=RESOLVED)
    before = cluster.deployments
    revision = None if uri.startswith("s3") else COMMIT
    cluster.model_caches = [a_ready_cache(uri, revision=revision)]
    cluster.settle()
    assert cluster.deployments == before
    assert cluster.condition("Ready")[0] == "True"


def test_a_service_that_runs_keeps_its_commit_when_the_cache_has_another_one() -> None:
    cluster = a_running_cluster(report=RESOLVED)
    cluster.model_caches = [a_ready_cache(revision=OTHER_COMMIT)]
    cluster.change(replicas=2)
    cluster.settle()
    (deployment,) = cluster.deployments
    assert FIXED in str(deployment["spec"]["template"]["spec"]["initContainers"])


def test_a_service_that_mounts_a_model_is_not_moved_when_the_cache_says_something_else() -> None:
    cluster = a_running_cluster(a_ready_cache())
    before = cluster.deployments
    for cache in (a_ready_cache(revision=OTHER_COMMIT), a_ready_cache(state="Downloading")):
        cluster.model_caches = [cache]
        cluster.settle()
        assert cluster.deployments == before


@pytest.mark.parametrize("uri", [BRANCH, FIXED])
def test_without_its_cache_a_service_downloads_the_same_commit_again_in_the_same_revision(uri: str) -> None:
    cluster = a_running_cluster(a_ready_cache(), uri=uri)
    revision = cluster.serving
    cluster.model_caches = []
    cluster.settle()
    (deployment,) = cluster.deployments
    assert cluster.serving == revision
    assert list(mounted(deployment)) == []
    assert FIXED in str(deployment["spec"]["template"]["spec"]["initContainers"])


def test_the_change_of_pods_that_a_deleted_cache_causes_waits_for_the_rollout_budget() -> None:
    cluster = a_running_cluster(a_ready_cache())
    before = cluster.deployments
    cluster.may_roll = False
    cluster.model_caches = []
    cluster.settle()
    assert cluster.deployments == before


def test_a_cache_of_its_own_wins_over_those_of_the_namespace() -> None:
    cluster = a_cluster(a_ready_cache(), cache={"persistentVolumeClaim": "mine"})
    assert "'claimName': 'mine'" in str(cluster.jobs)


def test_a_service_that_trusts_code_of_other_repositories_uses_no_shared_cache() -> None:
    settings = a_cluster().settings
    policy = settings.policy.model_copy(update={"trust_remote_code": True})
    cluster = PureCluster(
        a_service(model={"storageUri": BRANCH, "trustRemoteCode": True}),
        settings=settings.model_copy(update={"policy": policy}),
    )
    cluster.model_caches = [a_ready_cache()]
    cluster.settle()
    assert command(cluster)[0] == "resolve"


def test_a_cache_that_appears_while_a_service_resolves_its_model_is_used() -> None:
    cluster = a_cluster()
    assert command(cluster)[0] == "resolve"
    cluster.run_job(running())
    cluster.model_caches = [a_ready_cache()]
    cluster.settle()
    assert command(cluster)[0] == "cache"


def test_a_service_with_parts_from_other_sources_uses_no_shared_cache() -> None:
    cluster = a_cluster(a_ready_cache(), storageUris=[{"uri": "s3://bucket/adapter", "mountPath": "adapter"}])
    assert command(cluster)[0] == "resolve"


def test_a_service_whose_storage_container_has_an_image_of_its_own_gets_what_that_makes() -> None:
    cluster = PureCluster(
        a_service(model={"storageUri": BRANCH}),
        a_storage_container(prefixes=["hf://"], container={"image": "registry.example.com/decrypts:1"}),
    )
    cluster.model_caches = [a_ready_cache()]
    cluster.settle()
    assert command(cluster)[0] == "resolve"


@pytest.mark.parametrize(("of_cache", "does"), [(None, "resolve"), ("mirror", "cache")])
def test_a_service_that_names_a_storage_container_uses_what_was_downloaded_with_that(
    of_cache: str | None, does: str
) -> None:
    cluster = PureCluster(
        a_service(model={"storageUri": BRANCH, "storageContainerName": "mirror"}),
        a_storage_container("mirror", container={"env": [{"name": "HF_ENDPOINT", "value": "http://mirror"}]}),
    )
    cache = a_ready_cache()
    cache["spec"]["models"] = [{"storageUri": BRANCH, **({"storageContainerName": of_cache} if of_cache else {})}]
    cluster.model_caches = [cache]
    cluster.settle()
    assert command(cluster)[0] == does


def test_a_service_does_not_use_what_another_storage_container_has_downloaded() -> None:
    mirror = a_storage_container("mirror", namespace="default", prefixes=[f"{BRANCH}:main"])
    for containers, does in (((), "cache"), ((mirror,), "initializer")):
        cluster = PureCluster(a_service(model={"storageUri": FIXED}), *containers)
        cluster.model_caches = [a_ready_cache(f"{BRANCH}:main")]
        cluster.settle()
        assert (command(cluster)[0] if cluster.jobs else "initializer") == does


def test_what_a_storage_container_of_the_namespace_downloads_is_cached_for_its_services_alone() -> None:
    for namespace, options in ((None, []), ("default", ["--source=mirror"])):
        cluster = PureCluster(
            a_service(model={"storageUri": BRANCH, "cache": {"persistentVolumeClaim": "models"}}),
            a_storage_container("mirror", namespace=namespace, prefixes=["hf://"]),
        )
        cluster.settle()
        assert [each for each in command(cluster) if each.startswith("--source")] == options


def test_a_status_of_a_cache_that_somebody_has_emptied_replaces_no_pods() -> None:
    cluster = a_running_cluster(a_ready_cache())
    cluster.writes.clear()
    cluster.model_caches = [{**each, "status": {}} for each in cluster.model_caches]
    cluster.settle()
    assert cluster.writes == []


def test_the_job_of_a_service_uses_no_more_of_the_volume_than_the_cache_may() -> None:
    cache = a_ready_cache()
    cluster = a_cluster({**cache, "spec": {**cache["spec"], "capacity": "1Gi"}})
    assert f"--capacity={1 << 30}" in command(cluster)
