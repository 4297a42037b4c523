"""Pods whose status says nothing: what their Events say, and that "about to start" ends."""

from collections.abc import Sequence

import pytest

from embedding_operator.core.diagnosis import diagnose, needs_events
from embedding_operator.core.pods import Pod, PodEvent
from embedding_operator.core.records import Finding
from embedding_operator.core.snapshot import Snapshot
from support.builders import NOW, Raw, a_service, running, waiting
from support.views import DOWNLOADED, a_live_pod, an_expected_pod

EXPECTED = an_expected_pod()
MOUNT = PodEvent("FailedMount", 'MountVolume.SetUp failed for volume "source" : mount failed: exit status 32')
SUMMARY = PodEvent("FailedMount", "Unable to attach or mount volumes: unmounted volumes=[source]: timed out waiting")
STUCK: Raw = {"initializer": waiting("PodInitializing"), "server": waiting("PodInitializing"), "age": 3600}


def blocked(pod: Pod, events: Sequence[PodEvent] = ()) -> Finding:
    found = diagnose(pod, EXPECTED, events, NOW).blocked
    assert found is not None
    return found


def test_a_volume_that_cannot_be_mounted_is_reported_in_the_kubelets_words() -> None:
    assert blocked(a_live_pod(**STUCK), [MOUNT, SUMMARY]) == Finding(
        "VolumeNotMounted",
        'A volume of the pod cannot be mounted: MountVolume.SetUp failed for volume "source" : mount failed: exit '
        "status 32. Check the volume and its driver.",
    )


def test_a_summary_is_better_than_nothing() -> None:
    assert "unmounted volumes=[source]" in blocked(a_live_pod(**STUCK), [SUMMARY]).message


@pytest.mark.parametrize(
    "words",
    [
        'MountVolume.SetUp failed for volume "api-keys" : secret "keys" not found',
        'MountVolume.SetUp failed for volume "api-keys" : references non-existent secret key: api-keys',
    ],
)
def test_a_volume_of_a_missing_secret_is_a_missing_secret(words: str) -> None:
    found = blocked(a_live_pod(**STUCK), [PodEvent("FailedMount", words)])
    assert (found.reason, words in found.message) == ("SecretNotFound", True)


def test_a_sandbox_that_cannot_be_created_keeps_the_kubelets_reason() -> None:
    event = PodEvent("FailedCreatePodSandBox", "plugin type=bridge failed")
    found = blocked(a_live_pod(**STUCK), [event])
    assert (found.reason, "plugin type=bridge failed." in found.message) == ("FailedCreatePodSandBox", True)


def test_a_pod_that_is_stuck_without_a_word_says_what_is_known() -> None:
    found = blocked(a_live_pod(**STUCK))
    assert found.reason == "Pending"
    assert found.message.startswith("Node node1 has not started the containers of pod pod-1 within 30 s")


def test_a_pod_that_the_scheduler_ignores_says_so() -> None:
    assert blocked(a_live_pod(node=None, age=60)).message.startswith("The scheduler has not placed pod pod-1")


def test_a_young_pod_is_about_to_start() -> None:
    assert blocked(a_live_pod(age=29)).message == "The initializer is about to start."


@pytest.mark.parametrize(
    ("pod", "is_needed"),
    [
        (a_live_pod(**STUCK), True),
        (a_live_pod(age=29), False),
        (a_live_pod(node=None, age=31), True),
        (a_live_pod(age=3600, initializer=running()), False),
        (a_live_pod(age=3600, initializer=DOWNLOADED, server=waiting("ContainerCreating")), True),
        (a_live_pod(age=3600, unschedulable="0/1 nodes are available"), False),
        (a_live_pod(age=3600, initializer=waiting("ImagePullBackOff")), False),
        (a_live_pod(age=3600, ready=True), False),
        (a_live_pod(age=3600, deleting=True), False),
    ],
)
def test_events_are_read_of_pods_that_are_stuck_without_a_word(pod: Pod, *, is_needed: bool) -> None:
    assert needs_events(Snapshot(a_service(), pods=(pod,)), NOW) == (("pod-1",) if is_needed else ())


def test_of_many_stuck_pods_the_events_of_a_few_are_read() -> None:
    pods = tuple(a_live_pod(name=f"pod-{number}", **STUCK) for number in range(1000))
    assert len(needs_events(Snapshot(a_service(), pods=pods), NOW)) == 5
