"""A cache: a Job downloads the model into a volume once, and pods mount it from there."""

from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.constants import API_VERSION
from embedding_operator.core.cache_mounts import mounted
from embedding_operator.core.objects import revision_of
from embedding_operator.core.plan import Create, Delete, Replace, plan_service
from embedding_operator.core.quantity import amount
from embedding_operator.core.writes import ref_of
from embedding_runtime.contract import DownloadProgress
from support.builders import COMMIT, MINILM, NOW, Raw, a_service, ended, running, waiting
from support.pure_cluster import PureCluster

BRANCH = "hf://example/model"
OTHER = "0123456789abcdef0123456789abcdef01234567"
SHARED = {"persistentVolumeClaim": "models"}
OWN = {"size": "20Gi"}
PATH = "example-model-1a2b"


def cached(path: str = PATH, **fields: Any) -> Raw:
    """The container of a Job's pod that has downloaded the model."""
    commit = fields.get("commit", COMMIT)
    return ended(0, f'{{"weights_bytes": 90868376, "revision": "{commit}", "path": "{path}", "free_bytes": 7}}')


def a_new_cluster(cache: Raw | None = None, uri: str = BRANCH, **spec: Any) -> PureCluster:
    cluster = PureCluster(a_service(model={"storageUri": uri, "cache": cache or SHARED}, **spec))
    cluster.settle()
    return cluster


def a_running_cluster(cache: Raw | None = None, uri: str = BRANCH, **spec: Any) -> PureCluster:
    cluster = a_new_cluster(cache, uri, **spec)
    cluster.run_job(cached())
    cluster.settle()
    cluster.run(cluster.serving)
    cluster.after(3)
    return cluster


def command(cluster: PureCluster) -> list[str]:
    (job,) = cluster.jobs
    (container,) = job["spec"]["template"]["spec"]["containers"]
    args: list[str] = container["args"]
    return args


def pod_spec(deployment: Raw) -> Raw:
    spec: Raw = deployment["spec"]["template"]["spec"]
    return spec


def message(cluster: PureCluster, kind: str = "ModelAvailable") -> str:
    return next(str(each["message"]) for each in cluster.status["conditions"] if each["type"] == kind)


@pytest.mark.parametrize("uri", [BRANCH, MINILM, "s3://bucket/model", "https://host/model.tar.gz"])
def test_a_job_downloads_the_model_into_the_claim_before_any_pod_exists(uri: str) -> None:
    cluster = a_new_cluster(uri=uri)
    assert command(cluster)[:3] == ["cache", uri, "/cache"]
    volumes = cluster.jobs[0]["spec"]["template"]["spec"]["volumes"]
    assert {"name": "cache", "persistentVolumeClaim": {"claimName": "models"}} in volumes
    assert cluster.deployments == []
    assert cluster.condition("ModelAvailable") == ("False", "Downloading")
    assert "PersistentVolumeClaim models" in message(cluster)


@pytest.mark.parametrize("uri", [BRANCH, MINILM, "s3://bucket/model"])
def test_pods_mount_the_model_read_only_and_have_neither_an_initializer_nor_a_token(uri: str) -> None:
    cluster = PureCluster(
        a_service(model={"storageUri": uri, "cache": SHARED, "tokenSecretRef": {"name": "hf-secret"}}),
        hf_secret="HF_TOKEN",
    )
    cluster.settle()
    assert "hf-secret" in str(cluster.jobs[0]), "the Job has the token"
    cluster.run_job(cached())
    cluster.settle()
    (deployment,) = cluster.deployments
    pod = pod_spec(deployment)
    assert "initContainers" not in pod
    assert "hf-secret" not in str(pod)
    (server,) = pod["containers"]
    mount = {"name": "model", "mountPath": "/mnt/models", "subPath": f"models/{PATH}", "readOnly": True}
    assert mount in server["volumeMounts"]
    assert {"name": "model", "persistentVolumeClaim": {"claimName": "models"}} in pod["volumes"]
    assert list(mounted(deployment)) == [("models", PATH)]


def test_a_service_whose_model_is_cached_becomes_ready_and_scales_without_a_job() -> None:
    cluster = a_running_cluster()
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.condition("ModelAvailable") == ("True", "Downloaded")
    assert cluster.status["model"]["revision"] == COMMIT
    cluster.change(replicas=5)
    cluster.settle()
    assert cluster.jobs == []


def test_the_weights_that_the_job_reported_warn_of_too_little_memory() -> None:
    cluster = a_new_cluster(resources={"limits": {"memory": "1Gi"}})
    cluster.run_job(cached())
    cluster.settle()
    cluster.settle()
    assert cluster.condition("MemoryTooSmall") == ("True", "MemoryTooSmall")


def test_a_pod_that_waits_for_its_server_is_loading_and_not_waiting_for_an_initializer() -> None:
    cluster = a_new_cluster()
    cluster.run_job(cached())
    cluster.settle()
    cluster.run(revision_of(cluster.deployments[0]), ready=False, server=running())
    cluster.settle()
    assert cluster.condition("Ready") == ("False", "Loading")
    assert cluster.condition("ModelAvailable") == ("True", "Downloaded")


def test_the_job_keeps_what_deployments_of_the_namespace_mount_and_says_when_that_was_listed() -> None:
    cluster = PureCluster(a_service(model={"storageUri": BRANCH, "cache": SHARED}))
    cluster.cached = frozenset({"b-2", "a-1"})
    cluster.settle()
    assert command(cluster)[3:] == ["--keep=a-1,b-2", f"--listed-at={int(NOW.timestamp())}"]
    (before,) = cluster.jobs
    cluster.cached = frozenset({"c-3"})
    cluster.after(60)
    assert cluster.jobs == [before], "a Job is not changed"


def test_with_more_mounted_models_than_a_command_can_name_the_job_evicts_none() -> None:
    cluster = PureCluster(a_service(model={"storageUri": BRANCH, "cache": SHARED}))
    cluster.cached = frozenset(f"{each:0120}" for each in range(1000))
    cluster.settle()
    assert command(cluster)[3:] == ["--listed-at=0"]


def test_the_status_has_the_progress_of_the_job() -> None:
    cluster = a_new_cluster()
    cluster.run_job(running())
    cluster.report(DownloadProgress(done_bytes=45, total_bytes=100, bytes_per_second=5))
    cluster.settle()
    assert cluster.status["model"]["download"]["percent"] == 45
    assert "45% of 100 bytes" in message(cluster)


def test_enabling_the_cache_keeps_the_commit_and_the_revision() -> None:
    cluster = PureCluster(a_service(model={"storageUri": BRANCH}))
    cluster.settle()
    cluster.run_job(ended(0, f'{{"weights_bytes": 1, "revision": "{COMMIT}"}}'))
    cluster.settle()
    cluster.run(cluster.serving)
    cluster.after(3)
    old = cluster.serving
    cluster.change(model={"cache": SHARED})
    cluster.settle()
    assert command(cluster)[1] == f"{BRANCH}:{COMMIT}"
    assert cluster.condition("Available")[0] == "True"
    cluster.run_job(cached())
    cluster.settle()
    assert list(cluster.replicas()) == [old]
    assert list(mounted(cluster.deployments[0])) == [("models", PATH)]


def test_removing_the_cache_keeps_the_commit() -> None:
    cluster = a_running_cluster()
    cluster.change(model={"storageUri": BRANCH, "cache": None})
    cluster.service["spec"]["model"].pop("cache")
    cluster.settle()
    (initializer,) = pod_spec(cluster.deployments[0])["initContainers"]
    assert initializer["args"][0] == f"{BRANCH}:{COMMIT}"
    assert cluster.jobs == []


def test_another_claim_gets_the_same_commit() -> None:
    cluster = a_running_cluster()
    cluster.change(model={"cache": {"persistentVolumeClaim": "other"}})
    cluster.settle()
    assert command(cluster)[1] == f"{BRANCH}:{COMMIT}"
    assert list(mounted(cluster.deployments[0])) == [("models", PATH)], "until then, it serves from the old one"


def test_a_cache_that_is_full_says_which_claim_to_enlarge() -> None:
    cluster = a_new_cluster()
    cluster.run_job(ended(3, "InsufficientStorage: 1.2 GB are missing"))
    cluster.settle()
    assert cluster.condition("ModelAvailable") == ("False", "InsufficientStorage")
    assert "Enlarge PersistentVolumeClaim models" in message(cluster)


def test_a_missing_claim_is_named_with_its_field() -> None:
    cluster = a_new_cluster()
    cluster.run_job({})
    (pod,) = cluster.pods.values()
    words = '0/1 nodes are available: persistentvolumeclaim "models" not found.'
    pod["status"]["conditions"][0] |= {"status": "False", "reason": "Unschedulable", "message": words}
    cluster.settle()
    assert cluster.condition("ModelAvailable") == ("False", "VolumeNotFound")
    assert "correct spec.model.cache" in message(cluster)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"storageUri": "pvc://claim/model", "cache": SHARED}, "pvc://claim/model is not downloaded"),
        ({"storageUri": "file:///model", "cache": SHARED}, "file:///model is not downloaded"),
        ({"cache": {}}, "give exactly one of persistentVolumeClaim and size"),
        ({"cache": {**SHARED, **OWN}}, "give exactly one of persistentVolumeClaim and size"),
        ({"cache": {**SHARED, "accessMode": "ReadWriteMany"}}, "give size"),
        ({"cache": {"size": "0"}}, "spec.model.cache.size: 0 is too small"),
        ({"cache": {"size": "1e99"}}, "spec.model.cache.size: '1e99' is not a quantity"),
    ],
)
def test_a_cache_that_cannot_be_is_refused_in_words(model: Raw, words: str) -> None:
    cluster = PureCluster(a_service(model=model))
    cluster.settle()
    assert cluster.condition("Accepted") == ("False", "InvalidSpec")
    assert words in message(cluster, "Accepted")


class TestAClaimThatTheOperatorCreates:
    KEY = ("PersistentVolumeClaim", "embedding-model-cache")

    def test_is_the_service_s_own(self) -> None:
        cluster = a_new_cluster({**OWN, "storageClassName": "fast", "accessMode": "ReadWriteMany"})
        claim = cluster.objects[self.KEY]
        assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
        assert amount(claim["spec"]["resources"]["requests"]["storage"]) == amount("20Gi")
        assert claim["spec"]["storageClassName"] == "fast"
        assert claim["metadata"]["ownerReferences"][0]["uid"] == "5eed"

    def test_is_for_one_node_in_the_default_class_unless_the_spec_says_more(self) -> None:
        spec = a_new_cluster(OWN).objects[self.KEY]["spec"]
        assert spec["accessModes"] == ["ReadWriteOnce"]
        assert "storageClassName" not in spec

    @pytest.mark.parametrize(
        ("cache", "size"),
        [
            ({"size": "30Gi"}, "30Gi"),
            ({"size": "10Gi"}, "20Gi"),
            ({**OWN, "storageClassName": "other"}, "20Gi"),
            ({**OWN, "accessMode": "ReadWriteMany"}, "20Gi"),
        ],
    )
    def test_only_grows(self, cache: Raw, size: str) -> None:
        cluster = a_running_cluster(OWN)
        claim = cluster.objects[self.KEY]
        claim["spec"] |= {"volumeName": "pv-1", "volumeMode": "Filesystem", "storageClassName": "standard"}
        cluster.settle()
        cluster.change(model={"cache": cache})
        cluster.settle()
        after = cluster.objects[self.KEY]
        assert after["metadata"]["uid"] == claim["metadata"]["uid"]
        assert amount(after["spec"]["resources"]["requests"]["storage"]) == amount(size)
        assert {**after["spec"], "resources": None} == {**claim["spec"], "resources": None}

    def test_is_owned_by_those_that_name_it_too(self) -> None:
        cluster = a_running_cluster(OWN)
        user = {"apiVersion": API_VERSION, "kind": "EmbeddingService", "name": "other", "uid": "07e5"}
        cluster.claim_users = (user,)
        cluster.settle()
        own, other = cluster.objects[self.KEY]["metadata"]["ownerReferences"]
        assert own["controller"]
        assert other == user, "without it, the claim would be deleted with the service"

    def test_is_not_owned_by_those_any_more_that_have_ceased_to_name_it(self) -> None:
        cluster = a_running_cluster(OWN)
        cluster.claim_users = ({"apiVersion": API_VERSION, "kind": "ModelCache", "name": "c", "uid": "cac4e"},)
        cluster.settle()
        cluster.claim_users = ()
        cluster.settle()
        (owner,) = cluster.objects[self.KEY]["metadata"]["ownerReferences"]
        assert owner["controller"]

    def test_stays_while_others_name_it(self) -> None:
        cluster = a_running_cluster(OWN)
        cluster.claim_users = ({"apiVersion": API_VERSION, "kind": "ModelCache", "name": "c", "uid": "cac4e"},)
        cluster.change(model={"cache": SHARED})
        cluster.settle()
        cluster.run_job(cached())
        cluster.settle()
        cluster.stop(cluster.serving)
        cluster.run(cluster.serving)
        cluster.settle()
        assert self.KEY in cluster.objects

    def test_stays_while_a_deployment_mounts_it(self) -> None:
        cluster = a_running_cluster(OWN)
        cluster.change(model={"cache": SHARED})
        cluster.settle()
        assert self.KEY in cluster.objects
        cluster.run_job(cached())
        cluster.settle()
        cluster.stop(cluster.serving)
        cluster.run(cluster.serving)
        cluster.settle()
        assert self.KEY not in cluster.objects


def test_another_secret_with_the_token_is_tried_at_once() -> None:
    model = {"storageUri": BRANCH, "cache": SHARED, "tokenSecretRef": {"name": "wrong"}}
    cluster = PureCluster(a_service(model=model), wrong="HF_TOKEN", right="HF_TOKEN")
    cluster.settle()
    cluster.run_job(ended(3, "ModelUnauthorized: the token is not valid"))
    cluster.settle()
    cluster.change(model={"tokenSecretRef": {"name": "right"}})
    cluster.settle()
    assert "'right'" in str(cluster.jobs[0]["spec"])


def test_a_volume_that_cannot_grow_keeps_nothing_else_from_being_changed() -> None:
    cluster = a_running_cluster(OWN)
    cluster.change(model={"cache": {"size": "40Gi"}}, replicas=3)
    *others, last = [each.object["kind"] for each in cluster.reconcile().writes if isinstance(each, Create | Replace)]
    assert last == "PersistentVolumeClaim"
    assert "Deployment" in others


def complete(cluster: PureCluster) -> None:
    """As the Job's controller says it."""
    (job,) = cluster.jobs
    done = {"type": "Complete", "status": "True", "lastTransitionTime": cluster.now.isoformat()}
    job["status"] = {"conditions": [done]}


def mounts(cluster: PureCluster) -> set[str]:
    return {path for each in cluster.deployments for _, path in mounted(each)}


def test_the_model_of_a_revision_that_failed_is_looked_for_before_it_is_mounted_again() -> None:
    cluster = a_running_cluster(rollout={"progressDeadlineSeconds": 60})
    cluster.change(model={"storageUri": "hf://example/another"})
    cluster.settle()
    cluster.run_job(cached("another-2", commit=OTHER))
    cluster.settle()
    failing = waiting("ImagePullBackOff", "no such image")
    cluster.run(cluster.status["revision"]["candidate"], ready=False, server=failing)
    cluster.after(61)
    assert cluster.status["revision"]["failed"]["reason"] == "ImagePullFailed"
    assert cluster.jobs == []
    cluster.change(resources={"limits": {"memory": "8Gi"}})
    cluster.settle()
    assert mounts(cluster) == {PATH}, "no Deployment has kept the other model in the cache"
    assert command(cluster)[1] == f"hf://example/another:{OTHER}"
    cluster.run_job(cached("another-2", commit=OTHER))
    cluster.settle()
    assert mounts(cluster) == {PATH, "another-2"}


def test_a_model_that_waited_for_the_rollout_budget_is_looked_for_before_it_is_mounted() -> None:
    cluster = a_running_cluster()
    cluster.change(model={"updatePolicy": "Follow"})
    cluster.settle()
    cluster.run_job(cached())
    cluster.settle()
    cluster.remove_job()
    cluster.settle()
    cluster.may_roll = False
    cluster.run_job(cached("newer-2", commit=OTHER))
    complete(cluster)
    cluster.settle()
    (old,) = cluster.jobs
    cluster.now += timedelta(minutes=50)
    cluster.may_roll = True
    cluster.settle()
    assert mounts(cluster) == {PATH}
    assert cluster.jobs[0]["metadata"]["uid"] != old["metadata"]["uid"]
    cluster.run_job(cached("newer-2", commit=OTHER))
    cluster.settle()
    assert mounts(cluster) == {PATH, "newer-2"}


def test_a_job_that_a_user_keeps_for_a_look_at_it_is_believed_as_long_as_any_other() -> None:
    cluster = a_new_cluster()
    (job,) = cluster.jobs
    del job["spec"]["ttlSecondsAfterFinished"]
    cluster.run_job(cached())
    complete(cluster)
    recent = plan_service(cluster.snapshot(), cluster.settings, cluster.now)
    assert "Deployment" in {each.object["kind"] for each in recent.writes if isinstance(each, Create)}
    cluster.now += timedelta(seconds=301)
    assert Delete(ref_of(job)) in plan_service(cluster.snapshot(), cluster.settings, cluster.now).writes


def test_a_claim_that_is_no_longer_wanted_stays_until_the_last_pod_that_mounts_it_is_replaced() -> None:
    cluster = a_running_cluster(OWN)
    cluster.change(model={"cache": None})
    cluster.settle()
    assert mounts(cluster) == set()
    claim = ("PersistentVolumeClaim", "embedding-model-cache")
    assert claim in cluster.objects, "the pod that serves still mounts it, and its successor may never be ready"
    cluster.stop(cluster.serving)
    cluster.run(cluster.serving, initializer=ended())
    cluster.settle()
    assert claim not in cluster.objects
