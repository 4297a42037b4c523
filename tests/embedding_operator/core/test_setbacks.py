"""Rollouts that do not go as planned: changes that are taken back, pods that are left over, copies of our objects."""

from datetime import timedelta
from typing import Any

from support.builders import MINILM, a_service
from support.pure_cluster import PureCluster

OTHER = {"storageUri": "hf://example/other-model"}


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
    new = a_candidate(cluster)
    cluster.run(new)
    cluster.after(3)
    cluster.after(4)
    assert cluster.selected == new
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
    cluster.after(4)
    assert cluster.selected == old
