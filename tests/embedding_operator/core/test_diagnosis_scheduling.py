"""What the scheduler's words become."""

import pytest

from embedding_operator.core.diagnosis import diagnose
from embedding_operator.core.records import Finding
from support.builders import NOW, Raw, a_service
from support.views import a_live_pod, an_expected_pod

GPU = {"limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}, "requests": {"memory": "1Gi"}}
NO_CLAIM = (
    '0/1 nodes are available: persistentvolumeclaim "models" not found. not found. preemption: 0/1 nodes are '
    'available: persistentvolumeclaim "models" not found.'
)


def blocked(words: str, service: Raw | None = None) -> Finding:
    found = diagnose(a_live_pod(unschedulable=words), an_expected_pod(service), (), NOW).blocked
    assert found is not None
    return found


def test_what_a_pod_requests_stands_beside_the_schedulers_words_and_what_to_do() -> None:
    words = (
        "0/1 nodes are available: 1 Insufficient nvidia.com/gpu. preemption: 0/1 nodes are available: 1 No preemption "
        "victims found for incoming pod."
    )
    assert blocked(words, a_service(resources=GPU)) == Finding(
        "Unschedulable",
        "No node can schedule the pod (requests memory 1Gi, nvidia.com/gpu 1): 0/1 nodes are available: 1 Insufficient "
        "nvidia.com/gpu. Add a node with free capacity, delete pods that use it, or lower spec.resources.",
    )


def test_words_about_resource_claims_and_preemption_are_left_out() -> None:
    words = (
        "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes are "
        "available: 1 Preemption is not helpful for scheduling."
    )
    assert ": 0/1 nodes are available: 1 Insufficient cpu. Add a node" in blocked(words).message


def test_a_missing_claim_is_named_once_with_its_own_remedy() -> None:
    assert blocked(NO_CLAIM, a_service(resources=GPU)) == Finding(
        "VolumeNotFound",
        "No node can schedule the pod: PersistentVolumeClaim models not found. Create the PersistentVolumeClaim or "
        "correct spec.model.storageUri.",
    )


@pytest.mark.parametrize(
    ("words", "reason", "remedy"),
    [
        (
            "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims.",
            "VolumeNotBound",
            "pod has unbound immediate PersistentVolumeClaims. Check the events of the PersistentVolumeClaim",
        ),
        (
            '0/1 nodes are available: persistentvolumeclaim "models" is being deleted.',
            "VolumeNotFound",
            "PersistentVolumeClaim models is being deleted. Create",
        ),
        ("0/3 nodes are available: 3 node(s) had volume node affinity conflict.", "Unschedulable", "its volume cannot"),
        ("0/3 nodes are available: 3 node(s) had untolerated taint {gpu: true}.", "Unschedulable", "change the taints"),
        ("no nodes available to schedule pods", "Unschedulable", "Add a node that the pod may run on."),
    ],
)
def test_the_remedy_fits_the_cause(words: str, reason: str, remedy: str) -> None:
    found = blocked(words)
    assert (found.reason, remedy in found.message) == (reason, True), found.message


def test_words_that_the_scheduler_repeats_are_reported_once() -> None:
    assert blocked("0/1 nodes are available: no room. no room.").message.count("no room") == 1


def test_only_missing_capacity_is_answered_with_lower_requests() -> None:
    service = a_service(resources=GPU)
    assert "spec.resources" not in blocked("0/1 nodes are available: 1 node(s) were unschedulable.", service).message
