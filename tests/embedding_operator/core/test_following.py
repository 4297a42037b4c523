"""updatePolicy Follow: a branch is checked again and again, and another commit is a new revision."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core.objects import condition_of
from embedding_operator.core.plan import Budget, Create, Replace, plan_service
from embedding_operator.core.records import Finding
from support.builders import COMMIT, MINILM, Raw, a_service, ended, running, waiting
from support.pure_cluster import PureCluster

URI = "hf://example/model:main"
NEWER = "0123456789abcdef0123456789abcdef01234567"
NEWEST = "89abcdef0123456789abcdef0123456789abcdef"


def reported(commit: str) -> Raw:
    return ended(0, f'{{"weights_bytes": 90868376, "revision": "{commit}"}}')


def a_running_cluster(**model: Any) -> PureCluster:
    """A service that follows a branch, at its first commit; its Job has been removed."""
    model = {"storageUri": URI, "updatePolicy": "Follow", **model}
    cluster = PureCluster(a_service(model=model, rollout={"progressDeadlineSeconds": 60}))
    cluster.settle()
    check(cluster, COMMIT)
    cluster.run(cluster.serving)
    cluster.after(3)
    assert cluster.condition("Ready") == ("True", "Ready")
    return cluster


def check(cluster: PureCluster, commit: str) -> None:
    """The Job runs, reports, and is removed when the interval is over."""
    cluster.run_job(reported(commit))
    cluster.settle()
    cluster.remove_job()
    cluster.settle()


def ttl(cluster: PureCluster) -> int:
    (job,) = cluster.jobs
    seconds: int = job["spec"]["ttlSecondsAfterFinished"]
    return seconds


def commits(cluster: PureCluster) -> set[str]:
    pods = [each["spec"]["template"]["spec"] for each in cluster.deployments]
    return {pod["initContainers"][0]["args"][0].rpartition(":")[2] for pod in pods}


def message(cluster: PureCluster, kind: str = "ModelAvailable") -> str:
    return next(str(each["message"]) for each in cluster.status["conditions"] if each["type"] == kind)


def assert_ready_in_spite_of(cluster: PureCluster, words: str) -> None:
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.condition("Stalled")[0] == "False"
    assert "The last check for a newer version failed: " in message(cluster)
    assert words in message(cluster)


def test_the_job_asks_for_the_branch_again_after_each_interval() -> None:
    cluster = a_running_cluster(updateIntervalSeconds=600)
    (container,) = cluster.jobs[0]["spec"]["template"]["spec"]["containers"]
    assert container["args"] == ["resolve", URI]
    assert ttl(cluster) == 600


def test_the_first_job_is_tried_again_soon_even_if_the_interval_is_long() -> None:
    cluster = PureCluster(a_service(model={"storageUri": URI, "updatePolicy": "Follow"}))
    cluster.settle()
    assert ttl(cluster) == 300
    cluster = PureCluster(a_service(model={"storageUri": URI, "updatePolicy": "Follow", "updateIntervalSeconds": 60}))
    cluster.settle()
    assert ttl(cluster) == 60


def test_a_check_that_finds_the_same_commit_changes_nothing() -> None:
    cluster = a_running_cluster()
    cluster.run_job(running())
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "Ready")
    cluster.writes.clear()
    cluster.pods = {name: pod for name, pod in cluster.pods.items() if "model-model" not in name}
    cluster.run_job(reported(COMMIT))
    cluster.settle()
    assert cluster.writes == []
    assert commits(cluster) == {COMMIT}


def test_a_newer_commit_is_rolled_out_as_a_revision_of_its_own() -> None:
    cluster = a_running_cluster()
    old = cluster.serving
    cluster.run_job(reported(NEWER))
    assert cluster.reconcile().budget is Budget.TAKES, "the user did not make this change"
    cluster.settle()
    assert commits(cluster) == {COMMIT, NEWER}
    assert cluster.selected == old
    cluster.remove_job()
    cluster.settle()
    assert commits(cluster) == {COMMIT, NEWER}, "the candidate's commit is the present one"
    cluster.run(cluster.status["revision"]["candidate"])
    cluster.after(3)
    cluster.after(6)
    cluster.stop(old)
    cluster.settle()
    assert commits(cluster) == {NEWER}
    assert cluster.status["model"]["revision"] == NEWER


def test_a_newer_commit_waits_for_the_rollout_budget() -> None:
    cluster = a_running_cluster()
    cluster.may_roll = False
    cluster.run_job(reported(NEWER))
    assert cluster.reconcile().budget is Budget.WAITS
    cluster.settle()
    assert commits(cluster) == {COMMIT}


def test_a_commit_that_failed_is_not_tried_again_and_the_next_one_is() -> None:
    cluster = a_running_cluster()
    old = cluster.serving
    cluster.run_job(reported(NEWER))
    cluster.settle()
    failing = waiting("ImagePullBackOff", "no such image")
    cluster.run(cluster.status["revision"]["candidate"], ready=False, initializer=ended(), server=failing)
    cluster.after(61)
    assert cluster.condition("Stalled") == ("True", "ImagePullFailed")
    for _ in range(2):
        cluster.remove_job()
        cluster.settle()
        assert cluster.replicas() == {old: 1}
        cluster.run_job(reported(NEWER))
        cluster.settle()
        assert cluster.replicas() == {old: 1}
    cluster.remove_job()
    cluster.settle()
    cluster.run_job(reported(NEWEST))
    cluster.settle()
    assert commits(cluster) == {COMMIT, NEWEST}


def test_a_branch_that_goes_back_while_its_candidate_starts_drops_the_candidate() -> None:
    cluster = a_running_cluster()
    old = cluster.serving
    check(cluster, NEWER)
    assert len(cluster.deployments) == 2
    check(cluster, COMMIT)
    assert cluster.replicas() == {old: 1}


@pytest.mark.parametrize(
    ("container", "words"),
    [
        (ended(1, "DownloadFailed: the hub answers 503"), "the hub answers 503."),
        (ended(3, "ModelUnauthorized: the hub answers 401"), "the hub answers 401."),
        (ended(3, "ModelNotFound: the hub answers 404"), "the hub answers 404."),
        (ended(137, reason="OOMKilled"), "all of its memory limit, 1Gi"),
        (ended(0, "what?"), "did not report the model"),
        (waiting("ImagePullBackOff", "no such image"), "storage:test cannot be pulled"),
        (waiting("CreateContainerConfigError", 'secret "token" not found'), 'secret "token" not found'),
    ],
)
def test_a_check_that_fails_leaves_the_service_ready_and_says_so(container: Raw, words: str) -> None:
    cluster = a_running_cluster()
    cluster.run_job(container)
    cluster.settle()
    assert_ready_in_spite_of(cluster, words)


def test_a_check_that_no_node_can_run_leaves_the_service_ready_and_says_so() -> None:
    cluster = a_running_cluster()
    cluster.run_job({})
    *_, pod = cluster.pods.values()
    words = "0/1 nodes are available: 1 Insufficient memory."
    pod["status"]["conditions"][0] |= {"status": "False", "reason": "Unschedulable", "message": words}
    cluster.settle()
    assert_ready_in_spite_of(cluster, "Insufficient memory")


def test_a_check_whose_pods_are_refused_leaves_the_service_ready_and_says_so_in_time() -> None:
    cluster = a_running_cluster()
    wait = cluster.reconcile().requeue_after
    assert wait is not None
    assert wait <= timedelta(seconds=31)
    cluster.after(31)
    assert_ready_in_spite_of(cluster, "No pod of Job embedding-model-model-")


def test_a_check_that_takes_too_long_leaves_the_service_ready_and_says_so() -> None:
    cluster = a_running_cluster()
    time, message = cluster.now.isoformat(), "Job was active longer than specified deadline"
    condition = {"type": "Failed", "status": "True", "message": message, "lastTransitionTime": time}
    cluster.jobs[0]["status"] = {"conditions": [condition]}
    cluster.settle()
    assert_ready_in_spite_of(cluster, f"{message}.")


def test_a_check_that_the_api_server_refuses_is_attempted_again_minutes_later() -> None:
    cluster = a_running_cluster()
    cluster.remove_job()
    refused = Finding("QuotaExceeded", "exceeded quota: jobs.")
    plan = plan_service(replace(cluster.snapshot(), refused_check=refused), cluster.settings, cluster.now)
    assert plan.status is not None
    assert condition_of(plan.status, "Ready")["status"] == "True"
    assert condition_of(plan.status, "ModelAvailable")["message"].endswith("failed: exceeded quota: jobs.")
    assert plan.requeue_after is not None
    assert timedelta(minutes=4) < plan.requeue_after < timedelta(minutes=6)


def test_a_service_stays_ready_while_its_check_is_created_and_removed() -> None:
    cluster = a_running_cluster()
    for change in (cluster.remove_job, lambda: cluster.change(model={"updateIntervalSeconds": 60})):
        change()
        cluster.reconcile()
        assert cluster.condition("Ready") == ("True", "Ready")


def test_pinned_again_it_stays_at_the_commit_that_serves() -> None:
    cluster = a_running_cluster()
    cluster.change(model={"updatePolicy": "Pinned"})
    cluster.settle()
    assert cluster.jobs == []
    assert commits(cluster) == {COMMIT}


def test_a_service_that_was_pinned_is_checked_at_once() -> None:
    cluster = a_running_cluster(updatePolicy="Follow")
    cluster.change(model={"updatePolicy": "Pinned"})
    cluster.settle()
    cluster.change(model={"updatePolicy": "Follow"})
    cluster.settle()
    cluster.run_job(reported(NEWER))
    cluster.settle()
    assert commits(cluster) == {COMMIT, NEWER}


def test_another_interval_checks_at_once() -> None:
    cluster = a_running_cluster()
    (before,) = cluster.jobs
    cluster.change(model={"updateIntervalSeconds": 60})
    cluster.settle()
    (after,) = cluster.jobs
    assert after["metadata"]["name"] != before["metadata"]["name"]


def test_a_cache_follows_any_source() -> None:
    model = {"storageUri": "s3://bucket/model", "updatePolicy": "Follow", "cache": {"persistentVolumeClaim": "models"}}
    cluster = PureCluster(a_service(model=model))
    cluster.settle()
    revisions = set()
    for path in ("bucket-model-1", "bucket-model-2"):
        cluster.run_job(ended(0, f'{{"weights_bytes": 1, "path": "{path}"}}'))
        cluster.settle()
        cluster.remove_job()
        cluster.settle()
        revisions |= set(cluster.replicas())
    assert len(revisions) == 2


@pytest.mark.parametrize(
    ("uri", "words"),
    [(MINILM, "names one version, which never moves"), ("s3://bucket/model", "Follow needs a branch or tag")],
)
def test_what_cannot_move_is_not_followed(uri: str, words: str) -> None:
    cluster = PureCluster(a_service(model={"storageUri": uri, "updatePolicy": "Follow"}))
    cluster.settle()
    assert cluster.condition("Accepted") == ("False", "InvalidSpec")
    assert words in message(cluster, "Accepted")


def test_a_check_that_is_refused_keeps_nothing_else_from_being_changed() -> None:
    cluster = a_running_cluster()
    cluster.remove_job()
    cluster.change(replicas=3)
    plan = cluster.reconcile()
    assert [each.object["kind"] for each in plan.check if isinstance(each, Create)] == ["Job"]
    others = [each.object["kind"] for each in plan.writes if isinstance(each, Create | Replace)]
    assert others == ["Deployment", "PodDisruptionBudget"]
