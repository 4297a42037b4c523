"""What keeps a server from answering requests."""

import copy
from collections.abc import Sequence
from typing import Any

import pytest

from embedding_operator.core.diagnosis import ExpectedPod, diagnose, needs_events
from embedding_operator.core.pods import PodEvent, pod_of
from embedding_operator.core.records import Finding
from embedding_operator.core.resolve import resolve_service
from embedding_operator.core.revision import revision_and_template
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.kinds import POD
from embedding_operator.shell.trim import trimmed
from embedding_runtime.contract import KILLED
from support.builders import NOW, SETTINGS, Raw, a_pod, a_service, a_snapshot, ended, running, waiting
from support.views import DOWNLOADED, a_deployment, a_live_pod, ago, an_expected_pod, started

EXPECTED = an_expected_pod(a_service(resources={"limits": {"memory": "2Gi"}}))
UNLIMITED = an_expected_pod(a_service())

OUT_OF_MEMORY = ended(137, reason="OOMKilled")
CRASH = ended(3, "loading\n\nRuntimeError: no such pooling\n")
WORKER_KILLED = ended(
    KILLED, "12:00 ERROR cannot serve mini: the worker ended unexpectedly: killed, most likely out of memory"
)
LIVENESS = PodEvent("Unhealthy", "Liveness probe failed: context deadline exceeded (Client.Timeout exceeded)")
READINESS = PodEvent("Unhealthy", "Readiness probe failed: HTTP probe failed with statuscode: 503")


def blocked(server: Raw | None, *, events: Sequence[PodEvent] = (), **pod: Any) -> Finding:
    found = diagnose(a_live_pod(initializer=DOWNLOADED, server=server, age=5, **pod), EXPECTED, events, NOW).blocked
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("server", "reason", "words"),
    [
        (waiting("PodInitializing"), "Pending", "The server is about to start."),
        (running(), "Loading", "The server is loading the model."),
        (waiting("ErrImagePull", "not found"), "ImagePullFailed", "image runtime:cpu cannot be pulled: not found."),
        (OUT_OF_MEMORY, "OutOfMemory", "memory limit, 2Gi. Raise spec.resources.limits.memory."),
        (WORKER_KILLED, "OutOfMemory", "memory limit, 2Gi. Raise spec.resources.limits.memory."),
        (CRASH, "RuntimeFailed", "The server exited with code 3: loading\nRuntimeError: no such pooling"),
        (ended(1), "RuntimeFailed", "The server exited with code 1: it logged nothing."),
    ],
)
def test_a_server_that_does_not_answer_has_its_reason_and_its_remedy(server: Raw, reason: str, words: str) -> None:
    found = blocked(server)
    assert (found.reason, words in found.message) == (reason, True), found.message


def test_without_a_memory_limit_the_remedy_is_to_request_memory() -> None:
    pod = a_live_pod(initializer=DOWNLOADED, server=OUT_OF_MEMORY)
    found = diagnose(pod, UNLIMITED, (), NOW).blocked
    assert found is not None
    assert "Its node ran out of memory. Set spec.resources.requests.memory" in found.message


@pytest.mark.parametrize("again", [waiting("CrashLoopBackOff", restarts=2, last=CRASH), running(last=CRASH), CRASH])
def test_a_server_in_a_crash_loop_has_failed_until_it_is_ready(again: Raw) -> None:
    assert blocked(again).reason == "RuntimeFailed"


def test_a_kill_by_a_liveness_probe_is_not_a_lack_of_memory() -> None:
    found = blocked(ended(KILLED, "loading batch 7"), events=[LIVENESS])
    assert found == Finding(
        "RuntimeFailed",
        "The server was killed (SIGKILL) by the kubelet because its liveness probe failed: context deadline exceeded "
        "(Client.Timeout exceeded). Its last log lines: loading batch 7",
    )


def test_a_kill_without_an_event_is_not_a_lack_of_memory_either() -> None:
    found = blocked(ended(KILLED))
    assert found.reason == "RuntimeFailed"
    assert found.message == (
        "The server was killed (SIGKILL), most often by the kubelet after its liveness probe failed. Check "
        "`kubectl describe pod pod-1`."
    )


def test_a_server_that_obeyed_the_kubelet_after_a_failed_probe_says_so() -> None:
    found = blocked(waiting("CrashLoopBackOff", last=ended(0)), events=[LIVENESS])
    assert "was stopped (exit code 0) by the kubelet because its liveness probe failed" in found.message


def test_a_crash_after_an_old_failed_probe_is_a_crash() -> None:
    assert blocked(CRASH, events=[LIVENESS]).message.startswith("The server exited with code 3")


def test_lost_readiness_is_not_loading() -> None:
    found = blocked(started(seconds_ago=600), events=[READINESS], ready_changed=10)
    assert found == Finding(
        "NotReady",
        "The server stopped answering its readiness probe: HTTP probe failed with statuscode: 503. Check "
        "`kubectl logs pod-1`.",
    )


def test_lost_readiness_is_reported_without_an_event_too() -> None:
    assert "stopped answering its readiness probe. It may be" in blocked(started(seconds_ago=600)).message


def test_a_server_that_was_ready_after_a_crash_has_lost_its_readiness() -> None:
    assert blocked(started(seconds_ago=600, last=CRASH), ready_changed=10).reason == "NotReady"


def test_a_server_that_has_just_passed_its_startup_probe_is_not_in_trouble() -> None:
    found = blocked(started(seconds_ago=60), ready_changed=70)
    assert (found.reason, found.is_trouble) == ("Loading", False)


def test_a_node_that_stops_reporting_is_named() -> None:
    found = blocked(started(seconds_ago=600, ready=True), events=[PodEvent("NodeNotReady", "Node is not ready")])
    assert (found.reason, "Node node1 has stopped reporting." in found.message) == ("NodeLost", True)


def test_a_pod_with_a_ready_server_that_is_not_ready_itself_names_the_possible_causes() -> None:
    found = blocked(started(seconds_ago=600, ready=True))
    assert (found.reason, "another container is not ready" in found.message) == ("NotReady", True)


def test_a_container_that_its_node_has_lost_did_not_run_out_of_memory() -> None:
    assert blocked(ended(137, reason="ContainerStatusUnknown")).reason == "NodeLost"


def test_a_pod_that_is_ready_has_nothing_to_say_whatever_was_before() -> None:
    pod = a_live_pod(ready=True, server=started(ready=True, last=OUT_OF_MEMORY))
    assert diagnose(pod, EXPECTED, (), NOW).blocked is None


@pytest.mark.parametrize(
    ("server", "is_needed"),
    [
        (started(seconds_ago=600), True),
        (ended(KILLED), True),
        (ended(0), True),
        (ended(143), True),
        (CRASH, False),
        (OUT_OF_MEMORY, False),
        (running(), False),
    ],
)
def test_events_are_read_of_pods_that_a_probe_may_have_stopped(server: Raw, *, is_needed: bool) -> None:
    pod = a_live_pod(initializer=DOWNLOADED, server=server)
    assert needs_events(Snapshot(a_service(), pods=(pod,)), NOW) == (("pod-1",) if is_needed else ())


def test_injected_containers_change_nothing_in_the_diagnosis_of_a_pod_by_our_own() -> None:
    for initializer, server in ((waiting("ErrImagePull", "not found"), None), (DOWNLOADED, CRASH)):
        ours = a_raw_pod(initializer, server)
        injected = copy.deepcopy(ours)
        injected["status"]["initContainerStatuses"].insert(0, {"name": "mesh-init", **ended(1, "no iptables")})
        injected["status"]["containerStatuses"].insert(0, {"name": "mesh-proxy", **OUT_OF_MEMORY})
        deployments = [a_deployment("new00000")]
        first, second = pod_of(ours, deployments), pod_of(injected, deployments)
        assert first is not None
        assert first == second == pod_of(trimmed(POD, injected), deployments)
        assert diagnose(first, EXPECTED, (), NOW) == diagnose(second, EXPECTED, (), NOW)
        assert diagnose(second, EXPECTED, (), NOW).blocked is not None


def test_injected_containers_of_a_template_leave_what_is_expected_of_our_own() -> None:
    resolved = resolve_service(a_snapshot(a_service()), SETTINGS)
    _, template = revision_and_template(resolved, SETTINGS)
    plain = ExpectedPod.of(resolved, {"spec": {"template": template}})
    injected = copy.deepcopy(dict(template))
    for where in ("initContainers", "containers"):
        injected["spec"][where].insert(0, {"name": "mesh", "image": "mesh:1"})
    assert ExpectedPod.of(resolved, {"spec": {"template": injected}}) == plain


def a_raw_pod(initializer: Raw, server: Raw | None) -> Raw:
    raw = a_pod("digest", initializer=initializer, server=server)
    raw["metadata"] |= {
        "uid": "p",
        "creationTimestamp": ago(5),
        "labels": {"pod-template-hash": "5d8"},
        "ownerReferences": [{"kind": "ReplicaSet", "name": "embedding-model-new00000-5d8", "controller": True}],
    }
    return raw
