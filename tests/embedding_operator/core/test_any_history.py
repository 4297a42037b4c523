"""What holds after any history of changes, pods, failures and edits by hand: plans settle, and Ready is not a lie."""

import copy
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from embedding_operator.core.objects import revision_of
from embedding_operator.core.pins import pin_of
from embedding_operator.errors import Fault
from support.builders import COMMIT, MINILM, Raw, a_service, a_storage_container, ended, running, waiting
from support.pure_cluster import PureCluster

Step = Callable[[PureCluster], None]

SPECS: tuple[Raw, ...] = (
    {"replicas": 0},
    {"replicas": 1},
    {"replicas": 2},
    {"resources": {"limits": {"nvidia.com/gpu": "1"}}},
    {"resources": {"limits": {"memory": "1Gi"}}},
    {"resources": None},
    {"rollout": {"strategy": "Recreate"}},
    {"rollout": {"strategy": "Surge", "progressDeadlineSeconds": 10}},
    {"rollout": {"surgeWaitSeconds": 0}},
    {"args": ["--no_such_flag=1"]},
    {"args": []},
    {"model": {"storageUri": f"hf://a/b:{COMMIT}"}},
    {"model": {"storageUri": f"hf://a/c:{COMMIT}"}},
    {"model": {"storageUri": "hf://a/b"}},
    {"model": {"storageUri": "hf://a/b:v1"}},
    {"model": {"storageUri": MINILM}},
    {"model": {"cache": {"persistentVolumeClaim": "models"}}},
    {"model": {"cache": {"size": "1Gi"}}},
    {"model": {"cache": None}},
    {"model": {"updatePolicy": "Follow"}},
    {"model": {"updatePolicy": "Pinned"}},
)
INITIALIZERS: tuple[Raw, ...] = ({}, running(), ended(), ended(1, "ModelNotFound: no such model"))
JOBS: tuple[Raw, ...] = (
    {},
    running(),
    ended(0, f'{{"weights_bytes": 1, "revision": "{COMMIT}"}}'),
    ended(0, f'{{"weights_bytes": 1, "revision": "{COMMIT[::-1]}"}}'),
    ended(0, f'{{"weights_bytes": 1, "revision": "{COMMIT}", "path": "a-b-1"}}'),
    ended(0, "nothing that can be read"),
    ended(1, "DownloadFailed: the hub answers 503"),
    ended(3, "ModelNotFound: no such model"),
    waiting("ImagePullBackOff", "no such image"),
)
SERVERS: tuple[Raw, ...] = (
    running(),
    running(ready=True),
    running(restarts=3, last=ended(137)),
    waiting("ImagePullBackOff", "no such image"),
    waiting("ContainerCreating"),
    ended(137, reason="OOMKilled"),
    ended(255, reason="ContainerStatusUnknown"),
)
STORAGE: tuple[tuple[Raw, ...], ...] = (
    (),
    (a_storage_container(prefixes=["hf://"], container={"env": [{"name": "A", "value": "b"}]}),),
    (a_storage_container(prefixes=["hf://"], container={"unknown": 1}),),
)


def change(spec: Raw) -> Step:
    return lambda cluster: cluster.change(**spec)


def pods(which: int, count: int, initializer: Raw, server: Raw, fate: str) -> Step:
    """Pods of one of the revisions: ready, not ready, unschedulable or being deleted."""

    def step(cluster: PureCluster) -> None:
        revisions = sorted({revision_of(each) for each in cluster.deployments})
        if not revisions:
            return
        revision = revisions[which % len(revisions)]
        cluster.run(revision, count=count, ready=fate == "ready", initializer=initializer, server=server)
        for pod in cluster.pods.values():
            if revision_of(pod) == revision and fate == "deleted":
                pod["metadata"]["deletionTimestamp"] = cluster.now.isoformat()
            elif revision_of(pod) == revision and fate == "unschedulable":
                condition = {
                    "type": "PodScheduled",
                    "status": "False",
                    "reason": "Unschedulable",
                    "message": "0/1 nodes",
                }
                pod["status"] = {"phase": "Pending", "conditions": [condition]}

    return step


def by_hand(which: int, what: str) -> Step:
    """Somebody deletes or edits one of the children."""

    def step(cluster: PureCluster) -> None:
        key = sorted(cluster.objects)[which % len(cluster.objects)] if cluster.objects else None
        if key is None:
            return
        live = cluster.objects[key]
        if what == "gone":
            del cluster.objects[key]
            if key[0] == "Deployment":
                cluster.stop(revision_of(live))
        elif what == "going":
            live["metadata"]["deletionTimestamp"] = cluster.now.isoformat()
        elif what == "scaled" and key[0] == "Deployment":
            live["spec"]["replicas"] = 0
        elif what == "selects" and key[0] == "Service":
            live["spec"]["selector"] = {"a": "b"}

    return step


def job(container: Raw, *, is_removed: bool) -> Step:
    """The Job's next pod, or its end."""

    def step(cluster: PureCluster) -> None:
        if cluster.jobs and is_removed:
            cluster.remove_job()
        elif cluster.jobs:
            cluster.run_job(container)

    return step


def after(seconds: int) -> Step:
    def step(cluster: PureCluster) -> None:
        cluster.now += timedelta(seconds=seconds)

    return step


def drained(cluster: PureCluster) -> None:
    """The pods of Deployments without replicas are gone."""
    for deployment in cluster.deployments:
        if not deployment["spec"]["replicas"]:
            cluster.stop(revision_of(deployment))


def storage(containers: tuple[Raw, ...], *, may_roll: bool) -> Step:
    def step(cluster: PureCluster) -> None:
        cluster.storage_containers, cluster.may_roll = containers, may_roll

    return step


def one_of(*values: Any) -> st.SearchStrategy[Any]:
    return st.sampled_from(values)


FATES = one_of("ready", "not ready", "unschedulable", "deleted")
STEPS: st.SearchStrategy[Step] = st.one_of(
    st.builds(change, one_of(*SPECS)),
    st.builds(pods, st.integers(0, 2), st.integers(1, 3), one_of(*INITIALIZERS), one_of(*SERVERS), FATES),
    st.builds(job, one_of(*JOBS), is_removed=st.booleans()),
    st.builds(by_hand, st.integers(0, 4), one_of("gone", "going", "scaled", "selects")),
    st.builds(after, one_of(-30, 1, 3, 31, 121, 901, 4000)),
    st.builds(storage, one_of(*STORAGE), may_roll=st.booleans()),
    st.just(drained),
)


@settings(max_examples=150)
@given(st.lists(STEPS, max_size=14))
def test_plans_settle_raise_nothing_but_faults_and_call_only_a_whole_service_ready(history: list[Step]) -> None:
    cluster = PureCluster(copy.deepcopy(a_service()))
    cluster.settle()
    for step in history:
        step(cluster)
        try:
            cluster.settle()
        except Fault:
            continue
        states = {each["type"]: each["status"] for each in cluster.status["conditions"]}
        assert [states[each] for each in ("Ready", "Reconciling", "Stalled")].count("True") == 1
        if states["Ready"] == "True":
            (deployment,) = [each for each in cluster.deployments if "deletionTimestamp" not in each["metadata"]]
            assert cluster.selected == revision_of(deployment)
            assert ready_pods(cluster) == cluster.service["spec"].get("replicas", 1)


@settings(max_examples=100)
@given(st.lists(STEPS, max_size=14))
def test_the_version_of_a_revision_never_changes_and_a_deployment_is_left_alone_while_another_is_resolved(
    history: list[Step],
) -> None:
    cluster = PureCluster(copy.deepcopy(a_service(model={"storageUri": "hf://a/b"})))
    versions: dict[str, str | None] = {}
    for step in history:
        before = {each["metadata"]["uid"]: each["spec"]["template"] for each in cluster.deployments}
        step(cluster)
        try:
            cluster.settle()
        except Fault:
            continue
        for deployment in cluster.deployments:
            if (pin := pin_of(deployment)) is not None:
                assert versions.setdefault(revision_of(deployment), pin.version) == pin.version
            if cluster.condition("ModelAvailable")[1] == "Resolving":
                assert before.get(deployment["metadata"]["uid"]) == deployment["spec"]["template"]


def ready_pods(cluster: PureCluster) -> int:
    """Those that the Service sends requests to."""
    return sum(
        any((each["type"], each["status"]) == ("Ready", "True") for each in pod["status"]["conditions"])
        for pod in cluster.pods.values()
        if revision_of(pod) == cluster.selected and "deletionTimestamp" not in pod["metadata"]
    )
