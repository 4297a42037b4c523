"""Rollouts that do not go as planned: changes that are taken back, pods that are left over, copies of our objects."""

from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.constants import DRAIN_ANNOTATION
from embedding_operator.core.objects import revision_of
from embedding_operator.core.plan import Budget
from support.builders import COMMIT, MINILM, a_service, ended
from support.pure_cluster import PureCluster

OTHER = {"storageUri": f"hf://example/other-model:{COMMIT}"}


def a_running_cluster(**spec: Any) -> PureCluster:
    """A service whose one pod is ready."""
    cluster = PureCluster(a_service(**spec))
    cluster.settle()
    cluster.run(cluster.serving)
    cluster.after(3)
    return cluster


def a_candidate(cluster: PureCluster) -> str:
    """The model is changed, and the candidate has no pods yet. Returns its revision."""
    cluster.change(model=OTHER)
    cluster.settle()
    candidate: str = cluster.status["revision"]["candidate"]
    return candidate


def a_switch(cluster: PureCluster) -> str:
    """The model is changed and the new revision serves; the pods of the old one still drain. Returns the new one."""
    old, new = cluster.serving, a_candidate(cluster)
    cluster.run(new)
    cluster.after(3)
    cluster.after(6)
    assert cluster.selected == new
    for pod in cluster.pods.values():
        if revision_of(pod) == old:
            pod["metadata"]["deletionTimestamp"] = cluster.now.isoformat()
    return new


def test_going_back_while_the_old_revision_drains_is_a_rollout_of_its_own() -> None:
    cluster = a_running_cluster()
    old = cluster.serving
    cluster.now += timedelta(days=3)
    new = a_switch(cluster)
    assert cluster.replicas() == {old: 0, new: 1}
    cluster.change(model={"storageUri": MINILM})
    cluster.settle()
    assert cluster.replicas() == {old: 1, new: 1}, "the age of a Deployment that served is not a candidate's"
    cluster.run(old)
    cluster.after(3)
    cluster.after(6)
    assert cluster.selected == old


def test_a_revision_that_failed_is_tried_again_with_more_memory_and_not_for_being_scaled() -> None:
    cluster = a_running_cluster(resources={"limits": {"memory": "1Gi"}})
    old, new = cluster.serving, a_candidate(cluster)
    cluster.run(new, ready=False, initializer=ended(), server=ended(137, reason="OOMKilled"))
    cluster.after(901)
    cluster.change(replicas=2)
    cluster.settle()
    assert cluster.replicas() == {old: 2}
    assert cluster.condition("Stalled") == ("True", "OutOfMemory")

    cluster.change(resources={"limits": {"memory": "4Gi"}})
    cluster.settle()
    assert cluster.replicas() == {old: 2, new: 2}


def test_an_evicted_pod_neither_holds_a_rollout_slot_nor_keeps_its_revision() -> None:
    cluster = a_running_cluster()
    (pod,) = cluster.pods.values()
    metadata = {**pod["metadata"], "name": "evicted", "uid": "evicted"}
    cluster.pods["evicted"] = {"metadata": metadata, "status": {"phase": "Failed", "reason": "Evicted"}}
    assert cluster.reconcile().budget is Budget.NONE

    new = a_switch(cluster)
    del cluster.pods[pod["metadata"]["name"]]
    cluster.settle()
    assert cluster.replicas() == {new: 1}
    assert cluster.condition("Ready") == ("True", "Ready")


@pytest.mark.parametrize("name", ["a-copy", "z-copy"])
def test_a_copy_of_our_deployment_with_its_owner_reference_is_deleted(name: str) -> None:
    cluster = a_running_cluster()
    (deployment,) = cluster.deployments
    copied = {**deployment, "metadata": {**deployment["metadata"], "name": name, "uid": name}}
    cluster.objects["Deployment", name] = copied
    cluster.settle()
    assert cluster.deployments == [deployment], "its pods have the labels that the Service selects"


def test_pods_that_keep_serving_lose_the_drain_annotation() -> None:
    cluster = a_running_cluster()
    (pod,) = cluster.pods.values()
    cluster.run(a_candidate(cluster))
    cluster.after(3)
    assert DRAIN_ANNOTATION in pod["metadata"]["annotations"]
    cluster.change(model={"storageUri": MINILM})
    cluster.settle()
    assert DRAIN_ANNOTATION not in pod["metadata"]["annotations"], "the runtime closes connections as long as it stands"


@pytest.mark.parametrize("text", ["soon", "2026-03-01T12:00:00"])
def test_a_drain_notice_that_is_no_time_counts_as_none(text: str) -> None:
    cluster = a_running_cluster()
    (pod,) = cluster.pods.values()
    pod["metadata"]["annotations"][DRAIN_ANNOTATION] = text
    a_switch(cluster)


def test_a_candidate_whose_deployment_is_being_deleted_is_announced_once() -> None:
    cluster = a_running_cluster()
    candidate = a_candidate(cluster)
    deployment = cluster.objects["Deployment", f"embedding-model-{candidate}"]
    deployment["metadata"]["deletionTimestamp"] = cluster.now.isoformat()
    cluster.settle()
    assert cluster.events.count(("Normal", "Candidate")) == 1


@pytest.mark.parametrize("change", [{"model": OTHER}, {"resources": {"limits": {"memory": "1Pi"}}}])
def test_a_change_of_the_user_takes_no_slot_of_the_rollout_budget(change: dict[str, Any]) -> None:
    cluster = a_running_cluster()
    cluster.change(**change)
    assert [cluster.reconcile().budget for _ in range(3)] == [Budget.HOLDS] * 3


def test_nothing_switches_while_the_kubernetes_service_is_being_deleted() -> None:
    cluster = a_running_cluster()
    old, new = cluster.serving, a_candidate(cluster)
    frontend = cluster.objects["Service", "embedding-model"]
    frontend["metadata"]["deletionTimestamp"] = cluster.now.isoformat()
    cluster.run(new)
    cluster.after(3)
    cluster.after(6)
    assert cluster.replicas() == {old: 1, new: 1}, "it still sends requests to the old revision"

    del cluster.objects["Service", "embedding-model"]
    cluster.after(1)
    cluster.after(6)
    assert cluster.selected == new


def test_a_spec_that_is_refused_in_the_middle_of_a_rollout_in_place_brings_the_serving_revision_back() -> None:
    cluster = a_running_cluster(rollout={"strategy": "Recreate"})
    old, new = cluster.serving, a_candidate(cluster)
    assert cluster.replicas() == {old: 0, new: 1}
    cluster.change(args=["--no_such_flag=1"])
    cluster.settle()
    assert cluster.replicas() == {old: 1}
    assert cluster.selected == old
    assert cluster.condition("Stalled") == ("True", "InvalidSpec")
