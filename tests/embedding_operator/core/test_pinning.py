"""A branch or tag is resolved once: a Job finds the commit, and all pods of a revision get that one."""

import json
from dataclasses import replace
from typing import Any

import pytest

from embedding_operator.constants import MODEL_ANNOTATION
from embedding_operator.core.diagnosis import needs_events
from embedding_operator.core.objects import condition_of, revision_of
from embedding_operator.core.plan import Budget, Create, plan_service
from embedding_operator.core.pods import PodEvent
from support.builders import COMMIT, MINILM, SETTINGS, Raw, a_service, a_storage_container, ended, running, waiting
from support.pure_cluster import PureCluster

URI = "hf://example/model"
BRANCH = {"storageUri": URI}
IMAGE = f"oci://registry.example/model@sha256:{'ab' * 32}"
OTHER = {"storageUri": "hf://example/other:main"}
NEWER = "0123456789abcdef0123456789abcdef01234567"


def reported(commit: str = COMMIT) -> Raw:
    """The container of a Job's pod that has found the commit."""
    return ended(0, f'{{"weights_bytes": 90868376, "revision": "{commit}"}}')


def a_new_cluster(*storage: Raw, model: Raw | None = None, **spec: Any) -> PureCluster:
    cluster = PureCluster(a_service(model=model or BRANCH, **spec), *storage)
    cluster.settle()
    return cluster


def a_running_cluster(**spec: Any) -> PureCluster:
    """A service at a branch, resolved, whose pods are ready."""
    cluster = a_new_cluster(**spec)
    resolve(cluster)
    cluster.run(cluster.serving, count=spec.get("replicas", 1))
    cluster.after(3)
    return cluster


def resolve(cluster: PureCluster, commit: str = COMMIT) -> None:
    cluster.run_job(reported(commit))
    cluster.settle()


def initializer_of(deployment: Raw) -> Raw:
    (initializer,) = deployment["spec"]["template"]["spec"]["initContainers"]
    return dict(initializer)


def downloaded_by(cluster: PureCluster) -> list[str]:
    return [initializer_of(each)["args"][0] for each in cluster.deployments]


def message(cluster: PureCluster, kind: str = "ModelAvailable") -> str:
    return next(str(each["message"]) for each in cluster.status["conditions"] if each["type"] == kind)


def test_a_new_service_at_a_branch_has_a_job_and_no_pods_until_the_commit_is_known() -> None:
    cluster = a_new_cluster()
    (job,) = cluster.jobs
    (container,) = job["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["resolve", URI]
    assert cluster.deployments == []
    assert cluster.condition("Ready") == ("False", "Resolving")
    assert cluster.condition("ModelAvailable") == ("False", "Resolving")
    assert cluster.events == []


def test_all_pods_of_a_revision_get_the_commit_that_the_job_found() -> None:
    cluster = a_running_cluster(replicas=3)
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]
    assert cluster.jobs == [], "it has done its work"
    assert cluster.condition("Ready") == ("True", "Ready")
    cluster.change(replicas=7)
    cluster.settle()
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]
    assert cluster.jobs == [], "nothing is asked of the hub again"


def test_the_status_has_the_commit_before_any_pod_has_downloaded_the_model() -> None:
    cluster = a_new_cluster()
    resolve(cluster)
    cluster.settle()
    assert cluster.status["model"]["revision"] == COMMIT


@pytest.mark.parametrize(
    "uri",
    [MINILM, f"hf://a/b@{COMMIT}", IMAGE, "pvc://claim/model", "s3://bucket/model"],
)
def test_a_uri_that_has_one_version_or_none_that_can_be_named_needs_no_job(uri: str) -> None:
    cluster = a_new_cluster(model={"storageUri": uri})
    assert cluster.jobs == []
    assert downloaded_by(cluster) == [uri]
    (deployment,) = cluster.deployments
    assert MODEL_ANNOTATION not in deployment["metadata"]["annotations"]


def test_the_commit_stays_when_another_field_makes_a_new_revision() -> None:
    cluster = a_running_cluster()
    cluster.change(args=["--dtype=bfloat16"])
    cluster.settle()
    assert cluster.jobs == []
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"] * 2


def test_the_commit_stays_when_the_operator_is_upgraded() -> None:
    cluster = a_running_cluster()
    cluster.settings = cluster.settings.model_copy(update={"storage_image": "storage:2", "hf_endpoint": "http://hub"})
    cluster.settle()
    assert cluster.jobs == []
    assert set(downloaded_by(cluster)) == {f"{URI}:{COMMIT}"}


def test_another_commit_is_another_revision() -> None:
    revisions = set()
    for commit in (COMMIT, NEWER):
        cluster = a_new_cluster()
        resolve(cluster, commit)
        revisions.add(revision_of(cluster.deployments[0]))
    assert len(revisions) == 2


def test_a_service_whose_deployment_was_deleted_by_hand_is_resolved_anew() -> None:
    cluster = a_running_cluster()
    cluster.objects = {key: each for key, each in cluster.objects.items() if key[0] != "Deployment"}
    cluster.pods.clear()
    cluster.settle()
    resolve(cluster, NEWER)
    assert downloaded_by(cluster) == [f"{URI}:{NEWER}"]


class TestAChangeOfTheModel:
    def test_leaves_the_serving_revision_alone_while_its_successor_is_resolved(self) -> None:
        cluster = a_running_cluster(replicas=2)
        (before,) = cluster.deployments
        cluster.change(model=OTHER, resources={"limits": {"memory": "3Gi"}})
        cluster.settle()
        assert cluster.deployments == [before]
        assert cluster.selected == revision_of(before)
        assert cluster.condition("Ready") == ("False", "Resolving")
        assert cluster.condition("Available") == ("True", "Available")
        assert "The previous version is still serving." in message(cluster, "Ready")
        assert cluster.status["model"]["revision"] == COMMIT

    def test_is_the_users_own_and_takes_no_slot_of_the_rollout_budget(self) -> None:
        cluster = a_running_cluster()
        cluster.may_roll = False
        cluster.change(model=OTHER)
        assert cluster.reconcile().budget is Budget.HOLDS
        cluster.settle()
        cluster.run_job(reported(NEWER))
        assert cluster.reconcile().budget is Budget.HOLDS
        assert len(cluster.deployments) == 2

    def test_follows_the_number_of_replicas_while_it_is_resolved(self) -> None:
        cluster = a_running_cluster()
        cluster.change(model=OTHER, replicas=3)
        cluster.settle()
        assert cluster.replicas() == {cluster.serving: 3}

    def test_that_is_taken_back_removes_the_job(self) -> None:
        cluster = a_running_cluster()
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        cluster.change(model=BRANCH)
        cluster.settle()
        assert cluster.jobs == []
        assert cluster.replicas() == {old: 1}
        assert cluster.condition("Ready") == ("True", "Ready")

    def test_in_the_middle_of_a_rollout_in_place_brings_the_serving_revision_back(self) -> None:
        cluster = a_running_cluster(rollout={"strategy": "Recreate"})
        old = cluster.serving
        cluster.change(model={"storageUri": MINILM})
        cluster.settle()
        assert cluster.replicas()[old] == 0
        cluster.change(model=OTHER)
        cluster.settle()
        assert cluster.replicas() == {old: 1}

    def test_rolls_out_as_always_once_it_is_resolved(self) -> None:
        cluster = a_running_cluster()
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        resolve(cluster, NEWER)
        new = cluster.status["revision"]["candidate"]
        assert cluster.replicas() == {old: 1, new: 1}
        cluster.run(new)
        cluster.after(3)
        cluster.after(6)
        assert cluster.selected == new
        assert cluster.status["model"]["revision"] == NEWER
        assert cluster.jobs == []

    def test_that_failed_is_not_resolved_again_until_the_spec_changes(self) -> None:
        cluster = a_running_cluster(rollout={"progressDeadlineSeconds": 60})
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        resolve(cluster, NEWER)
        failing = waiting("ImagePullBackOff", "no such image")
        cluster.run(cluster.status["revision"]["candidate"], ready=False, initializer=ended(), server=failing)
        cluster.after(61)
        assert cluster.condition("Stalled") == ("True", "ImagePullFailed")
        cluster.after(3600)
        assert (cluster.jobs, cluster.replicas()) == ([], {old: 1})
        cluster.change(args=["--dtype=bfloat16"])
        cluster.settle()
        assert cluster.jobs == [], "its commit is known"
        assert f"hf://example/other:{NEWER}" in downloaded_by(cluster)


class TestAnEarlierRelease:
    """Its Deployments have no annotation: each pod resolved the branch for itself."""

    def a_cluster(self) -> PureCluster:
        cluster = a_running_cluster()
        earlier = PureCluster(a_service(model={"storageUri": "hf://example/model"}))
        earlier.runs_jobs = False
        earlier.settle()
        earlier.run(earlier.serving)
        earlier.after(3)
        assert earlier.serving != cluster.serving
        earlier.runs_jobs = True
        return earlier

    def test_is_left_as_it_is(self) -> None:
        cluster = self.a_cluster()
        cluster.writes.clear()
        cluster.settle()
        assert cluster.writes == []
        assert cluster.condition("Ready") == ("True", "Ready")
        cluster.change(replicas=2)
        cluster.settle()
        assert (cluster.jobs, downloaded_by(cluster)) == ([], [URI])

    def test_is_pinned_when_a_change_makes_a_new_revision(self) -> None:
        cluster = self.a_cluster()
        cluster.change(args=["--dtype=bfloat16"])
        cluster.settle()
        assert len(cluster.jobs) == 1
        resolve(cluster)
        assert downloaded_by(cluster) == [URI, f"{URI}:{COMMIT}"]

    def test_waits_for_the_rollout_budget_before_it_is_resolved(self) -> None:
        cluster = self.a_cluster()
        cluster.may_roll = False
        cluster.settings = cluster.settings.model_copy(update={"runtime_images": {"cpu": "runtime:2"}})
        assert cluster.reconcile().budget is Budget.WAITS
        cluster.settle()
        assert cluster.jobs == []
        assert cluster.condition("Ready")[0] == "True"
        cluster.may_roll = True
        assert cluster.reconcile().budget is Budget.TAKES
        assert len(cluster.jobs) == 1


NOT_FOUND = ended(3, "one\nModelNotFound: hf://example/model is not on the hub")


class TestAJobThatFails:
    @pytest.mark.parametrize(
        ("container", "reason", "words"),
        [
            (NOT_FOUND, "ModelNotFound", "is not on the hub. Correct spec.model.storageUri."),
            (
                ended(3, "ModelUnauthorized: the hub refuses"),
                "ModelUnauthorized",
                "name one in spec.model.token",
            ),
            (ended(1, "DownloadFailed: the hub answers 503"), "DownloadFailed", "503. Attempt 1 failed; retrying."),
            (ended(137, reason="OOMKilled"), "OutOfMemory", "all of its memory limit, 1Gi"),
            (waiting("ImagePullBackOff", "no such image"), "ImagePullFailed", "storage:test cannot be pulled"),
            (waiting("CreateContainerError", "no device"), "CreateContainerError", "no device"),
            (ended(0, "what?"), "DownloadFailed", "did not report the model"),
        ],
    )
    def test_gives_its_reason_and_the_remedy(self, container: Raw, reason: str, words: str) -> None:
        cluster = a_new_cluster()
        cluster.run_job(container)
        cluster.settle()
        assert cluster.condition("ModelAvailable") == ("False", reason)
        assert words in message(cluster)
        assert cluster.condition("Ready") == ("False", reason)
        assert cluster.deployments == []

    def test_that_no_node_can_run_says_what_to_change(self) -> None:
        cluster = a_new_cluster()
        cluster.run_job({})
        (pod,) = cluster.pods.values()
        words = "0/1 nodes are available: 1 Insufficient memory."
        pod["status"]["conditions"][0] |= {"status": "False", "reason": "Unschedulable", "message": words}
        cluster.settle()
        assert cluster.condition("ModelAvailable") == ("False", "Unschedulable")
        assert "or lower spec.container.resources" in message(cluster)

    def test_whose_pods_are_refused_is_reported(self) -> None:
        cluster = a_new_cluster()
        cluster.after(31)
        assert cluster.condition("ModelAvailable") == ("False", "PodsRefused")
        assert "Check `kubectl describe job" in message(cluster)

    def test_whose_pods_are_refused_is_reported_in_the_words_of_its_event(self) -> None:
        cluster = a_new_cluster()
        cluster.after(31)
        (uid,) = needs_events(cluster.snapshot(), cluster.now)
        assert uid == cluster.jobs[0]["metadata"]["uid"]
        events = {uid: (PodEvent("FailedCreate", 'Error creating: pods "a" is forbidden: exceeded quota'),)}
        snapshot = replace(cluster.snapshot(), pod_events=events)
        status = plan_service(snapshot, SETTINGS, cluster.now).status
        assert "exceeded quota" in condition_of(status or {}, "ModelAvailable")["message"]

    def test_counts_its_attempts(self) -> None:
        cluster = a_new_cluster()
        for _ in range(2):
            cluster.run_job(ended(1, "DownloadFailed: 503"))
        cluster.settle()
        assert "Attempt 2 failed; retrying." in message(cluster)

    def test_is_made_again_when_it_has_been_removed_and_its_reason_stays_until_then(self) -> None:
        cluster = a_new_cluster()
        cluster.run_job(NOT_FOUND)
        cluster.settle()
        cluster.remove_job()
        cluster.settle()
        assert len(cluster.jobs) == 1
        assert cluster.condition("ModelAvailable") == ("False", "ModelNotFound")
        cluster.run_job(running())
        cluster.settle()
        assert cluster.events == [("Warning", "ModelNotFound")], "once"
        resolve(cluster)
        assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]

    def test_is_stalled_after_the_deadline_and_the_serving_revision_goes_on(self) -> None:
        cluster = a_running_cluster(rollout={"progressDeadlineSeconds": 60})
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        cluster.run_job(NOT_FOUND)
        cluster.after(61)
        assert cluster.condition("Stalled") == ("True", "ModelNotFound")
        assert cluster.replicas() == {old: 1}

    def test_whose_result_was_lost_is_made_again(self) -> None:
        cluster = a_new_cluster()
        (job,) = cluster.jobs
        time = cluster.now.isoformat()
        job["status"] = {"conditions": [{"type": "Complete", "status": "True", "lastTransitionTime": time}]}
        cluster.after(20)
        assert cluster.jobs == [job]
        cluster.after(20)
        (again,) = cluster.jobs
        assert again["metadata"]["uid"] != job["metadata"]["uid"]


def test_a_service_without_replicas_is_resolved_so_that_it_can_start_at_once() -> None:
    cluster = a_new_cluster(replicas=0)
    resolve(cluster)
    assert list(cluster.replicas().values()) == [0]
    assert cluster.condition("Ready") == ("True", "ScaledToZero")


def test_a_storage_container_with_a_foreign_image_gets_the_commit_that_ours_found() -> None:
    storage = a_storage_container(
        prefixes=["hf://"],
        container={"image": "kserve/storage:1", "env": [{"name": "HF_ENDPOINT", "value": "http://m"}]},
    )
    cluster = a_new_cluster(storage)
    (container,) = cluster.jobs[0]["spec"]["template"]["spec"]["containers"]
    assert container["image"] == "storage:test"
    assert {"name": "HF_ENDPOINT", "value": "http://m"} in container["env"]
    resolve(cluster)
    assert initializer_of(cluster.deployments[0])["image"] == "kserve/storage:1"
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]


def test_a_job_is_not_what_the_service_or_its_deployments_select() -> None:
    cluster = a_running_cluster(replicas=2)
    cluster.change(model=OTHER)
    cluster.settle()
    labels = cluster.jobs[0]["spec"]["template"]["metadata"]["labels"].items()
    selectors = [
        cluster.objects["Service", "embedding-model"]["spec"]["selector"],
        cluster.objects["PodDisruptionBudget", "embedding-model"]["spec"]["selector"]["matchLabels"],
        *(each["spec"]["selector"]["matchLabels"] for each in cluster.deployments),
        {"app.kubernetes.io/name": "embedding-runtime", "serving.embeddings.dev/service": "embedding-model"},
    ]
    assert not any(selector.items() <= labels for selector in selectors)


DIGEST = f"sha256:{'ab' * 32}"


def test_the_tag_of_an_image_becomes_its_digest() -> None:
    cluster = a_new_cluster(model={"storageUri": "oci://registry.example/model:v1"})
    resolve(cluster, DIGEST)
    assert downloaded_by(cluster) == [f"oci://registry.example/model:v1@{DIGEST}"]


def test_an_image_that_another_initializer_downloads_is_left_to_that() -> None:
    storage = a_storage_container(prefixes=["oci://"], container={"image": "kserve/storage:1"})
    cluster = a_new_cluster(storage, model={"storageUri": "oci://registry.example/model:v1"})
    assert cluster.jobs == []


def test_a_long_name_of_a_service_makes_a_name_that_can_be_a_label() -> None:
    cluster = PureCluster(a_service(name="a" * 63, model=BRANCH))
    cluster.settle()
    (job,) = cluster.jobs
    assert len(job["metadata"]["name"]) <= 63


def test_a_new_service_at_a_branch_costs_a_job_a_service_and_a_status_first() -> None:
    cluster = PureCluster(a_service(model=BRANCH))
    plan = cluster.reconcile()
    assert [(type(each), each.object["kind"]) for each in plan.writes if isinstance(each, Create)] == [
        (Create, "Service"),
        (Create, "Job"),
    ]
    assert cluster.reconcile().is_empty


def record(cluster: PureCluster, **changes: Any) -> None:
    """Somebody edits the annotation of the Deployment."""
    (deployment,) = cluster.deployments
    annotations = deployment["metadata"]["annotations"]
    annotations[MODEL_ANNOTATION] = json.dumps({**json.loads(annotations[MODEL_ANNOTATION]), **changes})


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"revision": NEWER}, f"its pods do not download {NEWER} of {URI}"),
        ({"revision": "main"}, f"its pods do not download main of {URI}"),
        ({"revision": "--help"}, "--help is neither a commit nor a digest"),
        ({"revision": None}, None),
        ({"path": "a-b-1", "claim": "models"}, "its pods do not mount a-b-1 of PersistentVolumeClaim models"),
        ({"path": "../a"}, "it is no record of a model"),
        ({"weights_bytes": "many"}, "it is no record of a model"),
    ],
)
def test_an_edited_record_is_not_believed_and_the_branch_is_resolved_again(changes: Raw, words: str | None) -> None:
    cluster = a_running_cluster()
    record(cluster, **changes)
    messages = [event.message for event in cluster.reconcile().events if event.reason == "ModelRecordIgnored"]
    assert words is None or messages == [
        f"Annotation {MODEL_ANNOTATION} of Deployment {cluster.deployments[0]['metadata']['name']}: {words}."
    ]
    assert len(cluster.jobs) == 1
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]
    cluster.settle()
    resolve(cluster)
    cluster.settle()
    assert json.loads(cluster.deployments[0]["metadata"]["annotations"][MODEL_ANNOTATION])["revision"] == COMMIT
    assert downloaded_by(cluster) == [f"{URI}:{COMMIT}"]
    assert cluster.condition("Ready") == ("True", "Ready")


def test_an_edited_record_of_a_path_in_the_cache_is_not_mounted() -> None:
    cluster = a_new_cluster(model={**BRANCH, "cache": {"persistentVolumeClaim": "models"}})
    cluster.run_job(ended(0, json.dumps({"weights_bytes": 1, "revision": COMMIT, "path": "a-b-1"})))
    cluster.settle()
    record(cluster, path="somebody-elses-1")
    cluster.settle()
    assert len(cluster.jobs) == 1
    assert "somebody-elses-1" not in str([each["spec"] for each in cluster.deployments])


def test_what_a_job_reports_as_a_version_is_used_only_if_it_can_be_one() -> None:
    cluster = a_new_cluster()
    resolve(cluster, "--help")
    assert cluster.deployments == []
    assert cluster.condition("ModelAvailable")[0] == "False"
