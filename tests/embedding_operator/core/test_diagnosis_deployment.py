"""What a Deployment says that none of its pods can."""

from typing import Any

import pytest

from embedding_operator.core.diagnosis import PodDiagnosis, most_severe, of_deployment, rollout_trouble
from embedding_operator.core.records import Finding
from support.builders import Raw, a_service, a_storage_container
from support.views import a_deployment, an_expected_pod

NO_LIMIT = an_expected_pod(a_service(resources={"limits": {"memory": "1Gi"}}))


def refusing(message: str, *, there: int = 0, **status: Any) -> Raw:
    condition = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
    return a_deployment("new00000", status={"conditions": [condition], "replicas": there, **status})


def words(message: str) -> str:
    found = of_deployment(refusing(message), NO_LIMIT)
    assert found is not None
    assert found.reason == "PodsRefused"
    return found.message


def test_a_quota_that_is_used_up_is_named() -> None:
    message = 'pods "embedding-model-new00000-5d8-xk2" is forbidden: exceeded quota: small, requested: pods=1, used: 1'
    assert words(message) == (
        "The cluster refuses to create pods: exceeded quota: small, requested: pods=1, used: 1. Raise ResourceQuota "
        "small, delete pods that use it, or lower spec.resources."
    )


def test_a_quota_that_wants_a_limit_says_where_each_container_gets_it() -> None:
    message = 'pods "x" is forbidden: failed quota: cpus: must specify limits.cpu for: server,storage-initializer'
    assert (
        "ResourceQuota cpus wants every container to specify it: set spec.resources.limits.cpu and "
        "spec.container.resources.limits.cpu of a StorageContainer for this URI"
    ) in words(message)


def test_a_quota_names_the_storage_container_whose_initializer_lacks_a_limit() -> None:
    service = a_service(resources={"limits": {"cpu": "1", "memory": "1Gi"}})
    expected = an_expected_pod(service, a_storage_container(prefixes=["hf://"]))
    message = 'pods "x" is forbidden: failed quota: cpus: must specify limits.cpu for: storage-initializer'
    found = of_deployment(refusing(message), expected)
    assert found is not None
    assert "set spec.container.resources.limits.cpu of ClusterStorageContainer hf-hub." in found.message
    assert "spec.resources.limits.cpu" not in found.message


@pytest.mark.parametrize(
    ("message", "remedy"),
    [
        ('pods "x" is forbidden: maximum memory usage per Container is 1Gi, but limit is 2Gi', "LimitRange"),
        ('pods "x" is forbidden: violates PodSecurity "restricted:latest": runAsNonRoot', "pod-security.kubernetes.io"),
        ('admission webhook "deny.example" denied the request: no', "Ask the owner of the webhook"),
        ("something new", "Change what refuses them, or the spec."),
    ],
)
def test_the_remedy_fits_what_refused_the_pods(message: str, remedy: str) -> None:
    assert remedy in words(message)


def test_the_made_up_name_of_a_pod_does_not_change_the_message() -> None:
    assert words('pods "a-1" is forbidden: no') == words('pods "a-2" is forbidden: no')


def test_a_refusal_is_stale_once_the_pods_are_there() -> None:
    assert of_deployment(refusing("exceeded quota: small, x", there=1), NO_LIMIT) is None


def test_a_refusal_of_an_older_generation_is_stale() -> None:
    assert of_deployment(refusing("exceeded quota: small, x", observedGeneration=0), NO_LIMIT) is None


LATE = {"type": "Progressing", "status": "False", "reason": "ProgressDeadlineExceeded", "message": "ReplicaSet timed"}
DEADLINE = of_deployment(a_deployment("new00000", status={"conditions": [LATE]}), NO_LIMIT)


def test_a_passed_deadline_is_reported() -> None:
    assert DEADLINE is not None
    assert DEADLINE.reason == "ProgressDeadlineExceeded"


def test_no_deployment_says_nothing() -> None:
    assert of_deployment(None, NO_LIMIT) is None


DOWNLOADING, PENDING = Finding("Downloading", "It is downloading."), Finding("Pending", "It is about to start.")
CRASH, PULL = Finding("RuntimeFailed", "It crashed."), Finding("ImagePullFailed", "No image.")


@pytest.mark.parametrize(
    ("findings", "worst"),
    [
        ([], None),
        ([None], None),
        ([DOWNLOADING, PENDING], PENDING),
        ([DOWNLOADING, CRASH], CRASH),
        ([CRASH, PULL], PULL),
        ([DOWNLOADING, DEADLINE], DOWNLOADING),
        ([PENDING, DEADLINE], DEADLINE),
        ([CRASH, DEADLINE], CRASH),
        ([CRASH, Finding("CreateContainerError", "The kubelet's.")], Finding("CreateContainerError", "The kubelet's.")),
    ],
)
def test_trouble_comes_before_progress_and_then_what_is_earlier(
    findings: list[Finding | None], worst: Finding | None
) -> None:
    assert most_severe(findings) == worst


def test_a_rollout_is_not_troubled_by_progress_or_by_a_deadline_that_is_not_its_own() -> None:
    assert rollout_trouble([PodDiagnosis(DOWNLOADING, DOWNLOADING)], DEADLINE) is None
    assert rollout_trouble([PodDiagnosis(None, CRASH), PodDiagnosis(None, None)], DEADLINE) == CRASH
