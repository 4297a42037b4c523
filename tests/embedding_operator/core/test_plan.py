"""What a reconcile wants, told as the life of a service: plans carried out on a cluster of plain objects."""

import copy
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core.objects import revision_of
from embedding_operator.core.plan import Budget, Create, Replace, Scale
from embedding_operator.core.pods import pod_of
from embedding_operator.errors import NameTaken, Terminating
from support.builders import COMMIT, SETTINGS, Raw, a_service, a_storage_container, ended, running, waiting
from support.pure_cluster import PureCluster

OTHER = {"storageUri": f"hf://example/other-model:{COMMIT}"}


def a_cluster(**spec: Any) -> PureCluster:
    cluster = PureCluster(a_service(**spec))
    cluster.settle()
    return cluster


def a_running_cluster(count: int = 1, **spec: Any) -> PureCluster:
    """A service whose pods are ready."""
    cluster = a_cluster(**({"replicas": count} if count > 1 else {}), **spec)
    cluster.run(cluster.serving, count=count)
    cluster.after(3)
    return cluster


def test_a_new_service_gets_a_deployment_of_its_revision_and_a_service_that_selects_it() -> None:
    cluster = a_cluster()
    (deployment,) = cluster.deployments
    revision = cluster.serving
    assert deployment["metadata"]["name"] == f"embedding-model-{revision}"
    assert deployment["spec"]["selector"]["matchLabels"]["serving.embeddings.dev/revision"] == revision
    assert cluster.selected == revision
    assert set(cluster.objects) == {("Deployment", f"embedding-model-{revision}"), ("Service", "embedding-model")}


def test_a_new_service_costs_two_objects_and_a_status_and_no_event() -> None:
    cluster = PureCluster(a_service())
    plan = cluster.reconcile()
    assert [type(write) for write in plan.writes] == [Create, Create]
    assert plan.events == ()
    assert cluster.reconcile().is_empty


def test_a_memory_limit_that_is_too_low_is_an_event_once_and_the_warning_goes_when_it_is_raised() -> None:
    cluster = a_cluster(resources={"limits": {"memory": "1Gi"}})
    downloaded = ended(0, '{"weights_bytes": 90868376}')
    cluster.run(cluster.serving, ready=False, initializer=downloaded, server=running())
    cluster.settle()
    cluster.run(cluster.serving, initializer=downloaded)
    cluster.after(3)
    assert cluster.events.count(("Warning", "MemoryTooSmall")) == 1
    assert cluster.condition("Ready") == ("True", "Ready")
    assert cluster.condition("MemoryTooSmall") == ("True", "MemoryTooSmall")
    cluster.change(resources={"limits": {"memory": "2Gi"}})
    cluster.settle()
    assert "MemoryTooSmall" not in [each["type"] for each in cluster.status["conditions"]]


def test_events_are_of_what_people_act_on_and_not_of_every_step() -> None:
    cluster = a_cluster()
    cluster.run(cluster.serving, ready=False, initializer=running(), server={})
    cluster.settle()
    cluster.run(cluster.serving, ready=False, initializer=ended(), server=running())
    cluster.settle()
    assert cluster.events == []
    cluster.run(cluster.serving)
    cluster.after(3)
    cluster.run(cluster.serving, ready=False, initializer=ended(), server=waiting("ImagePullBackOff", "no such image"))
    cluster.settle()
    assert cluster.events == [("Normal", "Ready"), ("Warning", "ImagePullFailed")]


def test_what_is_as_it_should_be_is_left_alone() -> None:
    cluster = a_running_cluster()
    assert cluster.condition("Ready") == ("True", "Ready")
    plan = cluster.reconcile()
    assert plan.is_empty
    assert plan.requeue_after is None


def test_two_replicas_get_a_disruption_budget_and_one_loses_it_again() -> None:
    cluster = a_running_cluster(2)
    budget = cluster.objects["PodDisruptionBudget", "embedding-model"]
    assert budget["spec"]["maxUnavailable"] == 1
    assert budget["spec"]["selector"]["matchLabels"]["serving.embeddings.dev/revision"] == cluster.serving

    cluster.change(replicas=1)
    cluster.settle()
    assert ("PodDisruptionBudget", "embedding-model") not in cluster.objects


class TestAChangeOfTheModel:
    def test_starts_a_candidate_that_gets_no_traffic(self) -> None:
        cluster = a_running_cluster(2)
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        new = cluster.status["revision"]["candidate"]
        assert cluster.replicas() == {old: 2, new: 2}
        assert (cluster.serving, cluster.selected) == (old, old)
        assert cluster.condition("Ready")[0] == "False"
        assert cluster.condition("Reconciling")[0] == "True"
        assert cluster.condition("Available")[0] == "True"

    def test_switches_the_service_in_one_write_and_then_removes_the_old_revision(self) -> None:
        cluster = a_running_cluster(2)
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        new = cluster.status["revision"]["candidate"]
        cluster.run(new, count=2)
        cluster.after(3)  # ready for long enough: now the old pods are told
        assert all("serving.embeddings.dev/draining" in pod["metadata"]["annotations"] for pod in _pods(cluster, old))
        assert cluster.selected == old

        cluster.writes.clear()
        cluster.after(6)
        assert cluster.selected == new
        assert [type(write) for write in cluster.writes[:3]] == [Replace, Replace, Scale]
        assert {write.object["kind"] for write in cluster.writes[:2]} == {"Service", "PodDisruptionBudget"}
        assert cluster.replicas() == {new: 2, old: 0}
        assert cluster.condition("Ready")[0] == "False"

        cluster.stop(old)
        cluster.settle()
        assert cluster.replicas() == {new: 2}
        assert cluster.condition("Ready") == ("True", "Ready")
        assert ("Normal", "Candidate") in cluster.events
        assert ("Normal", "Switched") in cluster.events

    def test_that_fails_is_removed_after_its_deadline_and_the_old_revision_serves_throughout(self) -> None:
        cluster = a_running_cluster(rollout={"progressDeadlineSeconds": 60})
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        new = cluster.status["revision"]["candidate"]
        cluster.run(new, ready=False, initializer=ended(), server=waiting("ImagePullBackOff", "no such image"))
        cluster.after(30)
        assert cluster.replicas() == {old: 1, new: 1}
        assert cluster.condition("Reconciling")[0] == "True"

        cluster.after(31)
        assert cluster.replicas() == {old: 1}
        assert cluster.selected == old
        assert cluster.condition("Stalled") == ("True", "ImagePullFailed")
        assert cluster.condition("Available")[0] == "True"
        assert cluster.status["revision"]["failed"]["revision"] == new

        cluster.after(3600)
        assert cluster.replicas() == {old: 1}, "not tried again"

    def test_is_forgotten_when_the_spec_goes_back(self) -> None:
        cluster = a_running_cluster(rollout={"progressDeadlineSeconds": 60})
        old, uri = cluster.serving, cluster.service["spec"]["model"]["storageUri"]
        cluster.change(model=OTHER)
        cluster.settle()
        cluster.after(61)
        cluster.change(model={"storageUri": uri})
        cluster.settle()
        assert cluster.replicas() == {old: 1}
        assert cluster.condition("Ready") == ("True", "Ready")
        assert "failed" not in cluster.status["revision"]


def test_a_change_that_moves_no_vectors_keeps_the_revision() -> None:
    cluster = a_running_cluster()
    old = cluster.serving
    cluster.change(resources={"limits": {"cpu": "2", "memory": "3Gi"}})
    cluster.settle()
    assert (cluster.serving, list(cluster.replicas())) == (old, [old])
    assert cluster.condition("Ready")[0] == "False"


class TestAChangeInPlaceThatFindsNoRoom:
    """One node, and its CPUs are the pod's: a Deployment would keep a broken pod until its successor is ready."""

    def change(self, cluster: PureCluster) -> Raw:
        cluster.change(resources={"limits": {"memory": "3Gi"}})
        cluster.settle()
        old = dict(cluster.pods)
        cluster.run(cluster.serving, ready=False, server={})
        (new,) = cluster.pods.values()
        message = "0/1 nodes are available: 1 Insufficient cpu."
        new["status"]["conditions"][0] |= {"status": "False", "reason": "Unschedulable", "message": message}
        cluster.pods = {f"old-{name}": pod for name, pod in old.items()} | cluster.pods
        cluster.settle()
        return new

    def test_replaces_a_pod_that_never_served(self) -> None:
        cluster = a_cluster()
        cluster.run(cluster.serving, ready=False, initializer=waiting("CrashLoopBackOff", ""), server={})
        new = self.change(cluster)
        assert _rolling(cluster) == {"maxSurge": 1, "maxUnavailable": "100%"}

        cluster.pods = {name: pod for name, pod in cluster.pods.items() if pod is new}
        cluster.settle()
        assert _rolling(cluster) == {"maxSurge": 1, "maxUnavailable": 0}

    def test_leaves_a_pod_that_serves(self) -> None:
        cluster = a_running_cluster()
        self.change(cluster)
        assert _rolling(cluster) == {"maxSurge": 1, "maxUnavailable": 0}
        assert cluster.condition("Available")[0] == "True"

    def test_leaves_a_pod_that_served_until_a_moment_ago(self) -> None:
        cluster = a_running_cluster()
        (pod,) = cluster.pods.values()
        pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"] = cluster.now.isoformat()
        cluster.now += timedelta(seconds=60)
        pod["status"]["conditions"][1] |= {"status": "False", "lastTransitionTime": cluster.now.isoformat()}
        self.change(cluster)
        assert _rolling(cluster) == {"maxSurge": 1, "maxUnavailable": 0}


class TestOnTheOnlyGpu:
    def cluster_with_an_unschedulable_candidate(self) -> tuple[PureCluster, str, str]:
        gpu = {"limits": {"nvidia.com/gpu": "1"}}
        cluster = a_running_cluster(resources=gpu, rollout={"surgeWaitSeconds": 30})
        old = cluster.serving
        cluster.change(model=OTHER)
        cluster.settle()
        new = cluster.status["revision"]["candidate"]
        cluster.run(new, ready=False, server={})
        for pod in _pods(cluster, new):
            message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
            pod["status"]["conditions"][0] |= {"status": "False", "reason": "Unschedulable", "message": message}
        cluster.settle()
        return cluster, old, new

    def test_the_old_revision_makes_room_after_a_while(self) -> None:
        cluster, old, new = self.cluster_with_an_unschedulable_candidate()
        assert cluster.replicas() == {old: 1, new: 1}
        cluster.after(31)
        assert cluster.replicas() == {old: 0, new: 1}
        assert cluster.selected == old

    def test_and_comes_back_when_the_candidate_fails(self) -> None:
        cluster, old, new = self.cluster_with_an_unschedulable_candidate()
        cluster.after(31)
        cluster.stop(old)
        cluster.run(new, ready=False, server=ended(1, "no such flag", restarts=2))
        cluster.after(31)
        assert cluster.replicas() == {old: 1}
        assert cluster.condition("Stalled") == ("True", "RuntimeFailed")
        assert ("Warning", "RolledBack") in cluster.events


def test_with_an_accelerator_every_change_of_the_pods_has_a_way_back() -> None:
    cluster = a_running_cluster(resources={"limits": {"nvidia.com/gpu": "1"}})
    old = cluster.serving
    cluster.change(resources={"limits": {"nvidia.com/gpu": "1", "memory": "1Gi"}})
    cluster.settle()
    assert cluster.replicas().keys() > {old}


class TestWhatBelongsToOthers:
    def test_is_never_written_over(self) -> None:
        cluster = PureCluster(a_service())
        cluster.objects["Service", "embedding-model"] = {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": {"name": "embedding-model", "namespace": "default", "uid": "theirs"},
            "spec": {},
        }
        with pytest.raises(NameTaken, match=r"Service default/embedding-model exists and .*adopt="):
            cluster.reconcile()

    def test_is_taken_over_where_its_owner_says_so(self) -> None:
        cluster = a_cluster()
        frontend = cluster.objects["Service", "embedding-model"]
        frontend["metadata"] |= {"ownerReferences": [], "annotations": {"serving.embeddings.dev/adopt": "true"}}
        cluster.settle()
        assert cluster.objects["Service", "embedding-model"]["metadata"]["ownerReferences"][0]["uid"] == "5eed"

    def test_is_not_deleted_for_carrying_our_labels(self) -> None:
        cluster = a_running_cluster()
        copied = copy.deepcopy(cluster.objects["Service", "embedding-model"])
        copied["metadata"] |= {"name": "embedding-public", "uid": "theirs", "ownerReferences": []}
        cluster.objects["Service", "embedding-public"] = copied
        assert cluster.reconcile().is_empty

    def test_and_is_a_leftover_of_a_former_service_of_that_name_is_waited_for(self) -> None:
        cluster = a_cluster()
        for each in cluster.objects.values():
            each["metadata"]["ownerReferences"][0]["uid"] = "of the former"
        with pytest.raises(Terminating):
            cluster.reconcile()


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("Service", "selector", {"a": "b"}),
        ("Service", "ports", [{"name": "http", "port": 81, "protocol": "TCP", "targetPort": "http"}]),
        ("Deployment", "replicas", 7),
    ],
)
def test_a_change_by_hand_of_a_field_of_ours_is_put_right(kind: str, path: str, value: Any) -> None:
    cluster = a_running_cluster()
    (child,) = [each for (its_kind, _), each in cluster.objects.items() if its_kind == kind]
    right = copy.deepcopy(child["spec"][path])
    child["spec"][path] = value
    cluster.settle()
    (child,) = [each for (its_kind, _), each in cluster.objects.items() if its_kind == kind]
    assert child["spec"][path] == right


def test_a_deleted_child_is_made_again() -> None:
    cluster = a_running_cluster()
    del cluster.objects["Service", "embedding-model"]
    cluster.settle()
    assert cluster.selected == cluster.serving


class TestAChangeOfAStorageContainer:
    def cluster(self) -> PureCluster:
        cluster = PureCluster(a_service(), a_storage_container("hub", prefixes=["hf://"]))
        cluster.settle()
        cluster.run(cluster.serving)
        cluster.after(3)
        assert cluster.condition("Ready") == ("True", "Ready")
        return cluster

    def change(self, cluster: PureCluster, **container: Any) -> None:
        changed = a_storage_container("hub", prefixes=["hf://"], container=container)
        cluster.storage_containers = (changed,)

    def test_that_moves_no_vectors_waits_for_the_budget_and_then_rolls_in_place(self) -> None:
        cluster = self.cluster()
        self.change(cluster, resources={"limits": {"memory": "3Gi"}})
        cluster.may_roll = False
        plan = cluster.reconcile()
        assert (plan.writes, plan.budget) == ((), Budget.WAITS)
        assert cluster.condition("Ready") == ("True", "Ready"), "it is as its spec says, and may wait for hours"
        assert "waits until fewer services roll out" in cluster.status["conditions"][0]["message"]
        cluster.may_roll = True
        assert cluster.reconcile().budget is Budget.TAKES

    def test_that_may_move_vectors_starts_a_candidate_within_the_budget(self) -> None:
        cluster = self.cluster()
        self.change(cluster, env=[{"name": "HF_ENDPOINT", "value": "https://mirror.example"}])
        cluster.may_roll = False
        assert cluster.reconcile().budget is Budget.WAITS
        cluster.may_roll = True
        assert cluster.reconcile().budget is Budget.TAKES
        assert len(cluster.replicas()) == 2

    def test_that_takes_nothing_from_the_pods_changes_nothing(self) -> None:
        cluster = self.cluster()
        before = cluster.objects
        cluster.storage_containers = (*cluster.storage_containers, a_storage_container("other", prefixes=["s3://"]))
        cluster.settle()
        assert cluster.objects == before


def test_the_hub_concerns_services_of_the_hub_alone() -> None:
    cluster = PureCluster(a_service(model={"storageUri": "pvc://models/minilm"}))
    cluster.settle()
    before = copy.deepcopy(cluster.objects)
    cluster.settings = SETTINGS.model_copy(update={"hf_endpoint": "https://mirror.example"})
    cluster.settle()
    assert cluster.objects == before


def test_a_refused_spec_changes_nothing_that_runs() -> None:
    cluster = a_running_cluster()
    before = copy.deepcopy(cluster.objects)
    cluster.change(args=["--no-such-flag"])
    cluster.settle()
    assert cluster.objects == before
    assert cluster.condition("Ready") == ("False", "InvalidSpec")
    assert cluster.condition("Stalled")[0] == "True"
    assert cluster.status["url"]


def test_no_replicas_are_ready_as_soon_as_they_are_gone() -> None:
    cluster = a_running_cluster()
    cluster.change(replicas=0)
    cluster.pods.clear()
    cluster.settle()
    assert cluster.condition("Ready") == ("True", "ScaledToZero")


LEGACY_LABELS = {"app.kubernetes.io/name": "embedding-runtime", "serving.embeddings.dev/service": "embedding-model"}


def an_install_from_before_revisions() -> PureCluster:
    """One Deployment with the service's name, and a Service that selects by labels without a revision."""
    cluster = a_running_cluster()
    (deployment,) = cluster.deployments
    del cluster.objects["Deployment", deployment["metadata"]["name"]]
    deployment["metadata"] |= {"name": "embedding-model", "labels": LEGACY_LABELS}
    deployment["spec"] |= {"selector": {"matchLabels": LEGACY_LABELS}}
    deployment["spec"]["template"]["metadata"]["labels"] = LEGACY_LABELS
    cluster.objects["Deployment", "embedding-model"] = deployment
    cluster.objects["Service", "embedding-model"]["spec"]["selector"] = LEGACY_LABELS
    cluster.service["status"].pop("revision")
    cluster.pods.clear()
    cluster.run("legacy")
    return cluster


def test_an_install_from_before_revisions_is_carried_over_without_an_outage() -> None:
    cluster = an_install_from_before_revisions()
    cluster.settle()

    assert cluster.selected is None
    (new,) = cluster.replicas().keys() - {"legacy"}
    assert cluster.replicas() == {"legacy": 1, new: 1}
    new_labels = next(each for each in cluster.deployments if revision_of(each) == new)["spec"]["template"]["metadata"]
    assert not LEGACY_LABELS.items() <= new_labels["labels"].items(), "the old selector must not take the new pods"

    cluster.run(new)
    cluster.after(3)
    assert cluster.selected == new
    cluster.stop("legacy")
    cluster.settle()
    assert cluster.replicas() == {new: 1}


def test_installs_from_before_revisions_are_carried_over_a_few_at_a_time() -> None:
    cluster = an_install_from_before_revisions()
    cluster.may_roll = False
    for _ in range(3):
        plan = cluster.reconcile()
        assert (plan.budget, set(cluster.replicas())) == (Budget.WAITS, {"legacy"})
    cluster.after(3)
    assert cluster.condition("Ready") == ("True", "Ready")

    cluster.may_roll = True
    assert cluster.reconcile().budget is Budget.TAKES
    assert len(cluster.replicas()) == 2


def _pods(cluster: PureCluster, revision: str) -> list[Raw]:
    return [pod for pod in cluster.pods.values() if revision_of(pod) == revision]


def test_a_server_that_never_becomes_ready_is_reported_after_the_deadline_and_keeps_trying() -> None:
    cluster = a_cluster(rollout={"progressDeadlineSeconds": 60})
    cluster.run(cluster.serving, ready=False, server=waiting("CrashLoopBackOff", last=ended(1, "bad"), restarts=3))
    cluster.after(30)
    assert cluster.condition("Reconciling")[0] == "True"
    cluster.after(61)
    assert cluster.condition("Stalled") == ("True", "ProgressDeadlineExceeded")
    assert cluster.replicas() == {cluster.serving: 1}


def test_a_pod_counts_as_ready_two_seconds_after_it_says_so() -> None:
    cluster = a_cluster()
    cluster.run(cluster.serving, server=running(ready=True))
    cluster.after(1)
    assert cluster.condition("Ready")[0] == "False"
    plan = cluster.reconcile()
    assert plan.requeue_after is not None
    cluster.after(plan.requeue_after.total_seconds())
    assert cluster.condition("Ready")[0] == "True"


OF_A_COPY = {"kind": "ReplicaSet", "name": "copy-hash", "uid": "c0", "controller": True}
OF_A_JOB = {"kind": "Job", "name": "embedding-model", "uid": "10b", "controller": True}


@pytest.mark.parametrize("owners", [[], [OF_A_COPY], [OF_A_JOB]])
def test_a_pod_with_copied_labels_that_no_replica_set_of_ours_controls_counts_for_nothing(owners: list[Raw]) -> None:
    cluster = a_running_cluster()
    before = cluster.status
    pod = copy.deepcopy(next(iter(cluster.pods.values())))
    pod["metadata"] |= {"name": "stray", "uid": "57", "ownerReferences": owners}
    pod["status"] = {"phase": "Pending", "conditions": [], "containerStatuses": [{"name": "server", **running()}]}
    assert pod_of(pod, cluster.deployments) is None
    cluster.pods["stray"] = pod
    assert cluster.reconcile().is_empty
    cluster.after(3600)
    assert cluster.status == before


def test_nor_does_one_whose_replica_set_merely_shares_the_hash() -> None:
    cluster = a_running_cluster()
    (deployment,) = cluster.deployments
    pod = copy.deepcopy(next(iter(cluster.pods.values())))
    owner = {**pod["metadata"]["ownerReferences"][0], "controller": False}
    pod["metadata"]["ownerReferences"] = [owner, OF_A_JOB]
    assert pod_of(pod, [deployment]) is None


@pytest.mark.parametrize("kind", ["Service", "PodDisruptionBudget", "Deployment"])
def test_any_child_that_no_builder_yields_is_deleted_whatever_its_kind(kind: str) -> None:
    cluster = a_running_cluster(2)
    former = copy.deepcopy(next(each for (of, _), each in cluster.objects.items() if of == kind))
    former["metadata"] |= {"name": "of-a-former-release", "uid": "f0"}
    if kind == "Deployment":
        former["metadata"]["labels"]["serving.embeddings.dev/revision"] = "f0f0f0f0"
    cluster.objects[kind, "of-a-former-release"] = former
    cluster.settle()
    assert (kind, "of-a-former-release") not in cluster.objects
    assert cluster.condition("Ready") == ("True", "Ready")


class TestAnAutoscaler:
    """Writes spec.replicas of the service through its scale subresource; the manifest has none."""

    def test_is_followed(self) -> None:
        cluster = a_running_cluster()
        cluster.change(replicas=3)
        cluster.settle()
        assert cluster.replicas() == {cluster.serving: 3}
        assert cluster.status["selector"]

    def test_keeps_its_number_when_the_manifest_is_applied_again(self) -> None:
        cluster = a_running_cluster()
        cluster.change(replicas=3)
        cluster.settle()
        cluster.change(
            rollout={"progressDeadlineSeconds": 800}
        )  # replicas belong to another manager: they stay in the spec
        cluster.settle()
        assert cluster.deployments[0]["spec"]["progressDeadlineSeconds"] == 800
        assert cluster.replicas() == {cluster.serving: 3}

    def test_finds_one_replica_where_no_number_was_given(self) -> None:
        cluster = a_running_cluster()
        assert "replicas" not in cluster.service["spec"]
        assert cluster.replicas() == {cluster.serving: 1}


def _rolling(cluster: PureCluster) -> Raw:
    """How the Deployment replaces its pods."""
    (deployment,) = cluster.deployments
    rolling: Raw = deployment["spec"]["strategy"]["rollingUpdate"]
    return rolling
