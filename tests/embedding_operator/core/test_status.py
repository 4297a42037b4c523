from collections.abc import Sequence
from datetime import timedelta

import pytest

from embedding_operator.core.plan import plan
from embedding_runtime.contract import KILLED
from support.builders import (
    MINILM,
    NOW,
    SETTINGS,
    Raw,
    a_pod,
    a_service,
    a_storage_container,
    an_observation,
    ended,
    running,
    waiting,
)

RESOURCES = {"limits": {"memory": "2Gi", "nvidia.com/gpu": "1"}, "requests": {"memory": "1Gi"}}
SERVICE = a_service(resources=RESOURCES, model={"tokenSecretRef": {"name": "hf-secret"}})
SECRETS = {"hf-secret": frozenset({"HF_TOKEN"})}


def _template(service: Raw) -> str:
    deployment, _ = plan(service, an_observation(secrets=SECRETS), SETTINGS, NOW).apply
    annotations: dict[str, str] = deployment["spec"]["template"]["metadata"]["annotations"]
    return annotations["serving.embeddings.dev/template"]


def _status(service: Raw, pods: Sequence[Raw], *, deployments: Sequence[Raw] = ()) -> Raw:
    seen = an_observation(pods=pods, deployments=deployments, secrets=SECRETS)
    status = plan(service, seen, SETTINGS, NOW).status
    assert status is not None
    return status


def _short(status: Raw) -> dict[str, str]:
    return {each["type"]: f"{each['status']}/{each['reason']}" for each in status["conditions"]}


def _message(status: Raw, kind: str = "Ready") -> str:
    message: str = next(each["message"] for each in status["conditions"] if each["type"] == kind)
    return message


DONE = ended()


@pytest.mark.parametrize(
    ("pod", "ready", "model", "available"),
    [
        ({}, "False/Pending", "False/Pending", "False/Pending"),
        ({"initializer": waiting("PodInitializing")}, "False/Pending", "False/Pending", "False/Pending"),
        ({"initializer": running()}, "False/Downloading", "False/Downloading", "False/Downloading"),
        (
            {"initializer": DONE, "server": waiting("PodInitializing")},
            "False/Pending",
            "True/Downloaded",
            "False/Pending",
        ),
        ({"initializer": DONE, "server": running()}, "False/Loading", "True/Downloaded", "False/Loading"),
        ({"initializer": DONE, "server": running(ready=True)}, "True/Ready", "True/Downloaded", "True/Available"),
    ],
)
def test_a_pod_on_its_way_is_progress(pod: Raw, ready: str, model: str, available: str) -> None:
    assert _short(_status(SERVICE, [a_pod(_template(SERVICE), **pod)])) == {
        "Ready": ready,
        "Accepted": "True/Accepted",
        "ModelAvailable": model,
        "Available": available,
    }


NOT_FOUND = ended(1, "one\nModelNotFound: hf://a/b is not on the hub")
UNAUTHORIZED = ended(1, "ModelUnauthorized: the hub refuses hf://a/b")
DISK = ended(1, "DownloadFailed: no space left on device")
FOREIGN = ended(1, "Traceback ...\nValueError: what?")
OOM = ended(137, reason="OOMKilled")
CRASH = ended(3, "loading\n\nRuntimeError: no such pooling\n")


@pytest.mark.parametrize(
    ("pod", "condition", "reason", "words"),
    [
        (
            {"unschedulable": "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."},
            "Available",
            "Unschedulable",
            "asks for memory 1Gi, nvidia.com/gpu 1: 0/1 nodes are available: 1 Insufficient nvidia.com/gpu. Add or",
        ),
        (
            {"initializer": NOT_FOUND},
            "ModelAvailable",
            "ModelNotFound",
            "not on the hub. Correct spec.model.storageUri; or, if the model is private: the token of",
        ),
        (
            {"initializer": UNAUTHORIZED},
            "ModelAvailable",
            "ModelUnauthorized",
            "key HF_TOKEN in Secret hf-secret was used",
        ),
        ({"initializer": DISK}, "ModelAvailable", "DownloadFailed", "no space left on device. That was start 1"),
        ({"initializer": FOREIGN}, "ModelAvailable", "DownloadFailed", "ValueError: what?"),
        (
            {"initializer": OOM},
            "ModelAvailable",
            "OutOfMemory",
            "all of its memory limit, 1Gi: make a StorageContainer",
        ),
        (
            {"initializer": waiting("ImagePullBackOff", 'Back-off pulling image "x": ErrImagePull: no such host')},
            "ModelAvailable",
            "ImagePullFailed",
            "The initializer's image storage:test cannot be pulled: no such host",
        ),
        (
            {"initializer": waiting("CreateContainerConfigError", 'secret "hf-secret" not found')},
            "ModelAvailable",
            "CreateContainerConfigError",
            'cannot start the initializer: secret "hf-secret" not found',
        ),
        (
            {"initializer": DONE, "server": waiting("ErrImagePull", "not found")},
            "Available",
            "ImagePullFailed",
            "The server's image runtime:cuda cannot be pulled: not found",
        ),
        ({"initializer": DONE, "server": OOM}, "Available", "OutOfMemory", "2Gi: raise spec.resources.limits.memory"),
        (
            {"initializer": DONE, "server": ended(KILLED)},
            "Available",
            "OutOfMemory",
            "raise spec.resources.limits.memory",
        ),
        (
            {"initializer": DONE, "server": CRASH},
            "Available",
            "RuntimeFailed",
            "The server ended with exit code 3: loading\nRuntimeError: no such pooling",
        ),
    ],
)
def test_trouble_has_its_reason_and_its_remedy_in_the_condition_and_in_ready(
    pod: Raw, condition: str, reason: str, words: str
) -> None:
    status = _status(SERVICE, [a_pod(_template(SERVICE), **pod)])
    short = _short(status)
    assert (short["Ready"], short[condition]) == (f"False/{reason}", f"False/{reason}")
    assert words in _message(status)
    assert _message(status) == _message(status, condition) == _message(status, "Available")


@pytest.mark.parametrize(
    "again",
    [
        waiting("CrashLoopBackOff", restarts=2, last=CRASH),
        running(restarts=2, last=CRASH),
        CRASH,
    ],
)
def test_a_server_in_a_crash_loop_has_failed_until_it_is_ready(again: Raw) -> None:
    pod = a_pod(_template(SERVICE), initializer=DONE, server=again)
    assert _short(_status(SERVICE, [pod]))["Ready"] == "False/RuntimeFailed"


def test_a_server_that_is_ready_again_is_ready_whatever_was_before() -> None:
    pod = a_pod(_template(SERVICE), initializer=DONE, server=running(ready=True, restarts=1, last=OOM))
    assert _short(_status(SERVICE, [pod]))["Ready"] == "True/Ready"


@pytest.mark.parametrize("again", [waiting("CrashLoopBackOff", restarts=1, last=DISK), running(restarts=2, last=DISK)])
def test_a_download_that_is_tried_again_tells_which_attempt_failed(again: Raw) -> None:
    status = _status(SERVICE, [a_pod(_template(SERVICE), initializer=again)])
    assert "That was start 2 of the initializer; it is started again." in _message(status)


def test_a_model_that_wants_a_token_says_that_none_was_used() -> None:
    service = a_service()
    status = _status(service, [a_pod(_template(service), initializer=UNAUTHORIZED)])
    assert "No token was used, name one in spec.model.tokenSecretRef." in _message(status)


def test_an_initializer_out_of_memory_names_the_storage_container_to_change() -> None:
    hub = a_storage_container(container={"resources": {"limits": {"memory": "512Mi"}}})
    service = a_service()
    seen = an_observation(storage_containers=[hub])
    deployment, _ = plan(service, seen, SETTINGS, NOW).apply
    annotations = deployment["spec"]["template"]["metadata"]["annotations"]
    pod = a_pod(annotations["serving.embeddings.dev/template"], initializer=OOM)
    status = plan(service, an_observation(storage_containers=[hub], pods=[pod]), SETTINGS, NOW).status
    assert status is not None
    assert "512Mi: raise spec.container.resources.limits.memory of ClusterStorageContainer hf-hub" in _message(status)


def test_trouble_of_one_pod_is_said_although_another_only_loads() -> None:
    service = a_service(replicas=2)
    template = _template(service)
    pods = [
        a_pod(template, name="a", initializer=DONE, server=running()),
        a_pod(template, name="b", initializer=DONE, server=OOM),
    ]
    assert _short(_status(service, pods))["Ready"] == "False/OutOfMemory"


def test_one_replica_of_two_answers_but_the_service_is_not_ready() -> None:
    service = a_service(replicas=2)
    template = _template(service)
    pods = [
        a_pod(template, name="a", initializer=DONE, server=running(ready=True)),
        a_pod(template, name="b", initializer=running()),
    ]
    status = _status(service, pods)
    assert _short(status) == {
        "Ready": "False/Downloading",
        "Accepted": "True/Accepted",
        "ModelAvailable": "True/Downloaded",
        "Available": "True/Available",
    }
    assert (status["replicas"], status["readyReplicas"]) == (2, 1)


def test_while_a_change_rolls_out_the_old_pod_answers_and_the_new_one_gives_the_reason() -> None:
    pods = [
        a_pod("before", name="old", initializer=DONE, server=running(ready=True)),
        a_pod(_template(SERVICE), name="new", initializer=NOT_FOUND),
    ]
    short = _short(_status(SERVICE, pods))
    assert (short["Ready"], short["Available"]) == ("False/ModelNotFound", "True/Available")


def test_trouble_of_pods_from_before_a_change_is_forgotten() -> None:
    pods = [a_pod("before", initializer=NOT_FOUND), a_pod(_template(SERVICE), name="new", initializer=running())]
    assert _short(_status(SERVICE, pods))["Ready"] == "False/Downloading"


def test_a_service_is_ready_only_when_the_pods_from_before_are_on_their_way_out() -> None:
    new = a_pod(_template(SERVICE), initializer=DONE, server=running(ready=True))
    old: Raw = {"name": "old", "initializer": DONE, "server": running(ready=True)}
    assert _short(_status(SERVICE, [new, a_pod("before", **old)]))["Ready"] == "False/RollingOut"
    assert _short(_status(SERVICE, [new, a_pod("before", deleting=True, **old)]))["Ready"] == "True/Ready"


def test_an_evicted_pod_says_nothing() -> None:
    pod = a_pod(_template(SERVICE), initializer=DONE, server=OOM)
    pod["status"] |= {"phase": "Failed", "reason": "Evicted"}
    status = _status(SERVICE, [pod])
    assert (_short(status)["Ready"], status["replicas"]) == ("False/Pending", 0)


def test_pods_that_the_cluster_refuses_are_told_in_its_words() -> None:
    failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": "exceeded quota: small"}
    deployment = {"metadata": {"name": "embedding-model"}, "status": {"conditions": [failure]}}
    status = _status(SERVICE, [], deployments=[deployment])
    assert _short(status)["Ready"] == _short(status)["Available"] == "False/PodsRefused"
    assert "exceeded quota: small" in _message(status)


def test_a_service_scaled_to_zero_is_not_ready_and_says_why() -> None:
    assert _short(_status(a_service(replicas=0), []))["Ready"] == "False/ScaledToZero"


def test_the_status_says_where_the_service_answers_and_what_was_decided() -> None:
    status = _status(a_service(args=["--model_name=mini"]), [])
    del status["conditions"]
    url = "http://embedding-model.default.svc.cluster.local"
    assert status == {
        "observedGeneration": 1,
        "url": url,
        "address": {"url": url},
        "backend": "vllm",
        "model": {"name": "mini"},
        "storageContainer": {"kind": "BuiltIn"},
        "replicas": 0,
        "readyReplicas": 0,
        "selector": "app.kubernetes.io/name=embedding-runtime,serving.embeddings.dev/service=embedding-model",
    }


def test_a_refused_change_of_a_running_service_says_what_is_wrong_and_that_the_old_one_answers() -> None:
    template = _template(SERVICE)
    pod = a_pod(template, initializer=DONE, server=running(ready=True))
    before = _status(SERVICE, [pod])
    changed = a_service(args=["--nonsense=1"], status=before)
    status = _status(changed, [pod])
    assert _short(status) == {
        "Ready": "False/InvalidSpec",
        "Accepted": "False/InvalidSpec",
        "ModelAvailable": "Unknown/NotAccepted",
        "Available": "True/Available",
    }
    assert _message(status).endswith("what ran before this change goes on.")
    assert status["url"] == before["url"]


def test_a_refused_service_that_never_ran_has_no_url() -> None:
    assert "url" not in _status(a_service(args=["--nonsense=1"]), [])


def test_a_condition_keeps_the_time_of_its_last_transition_while_its_status_stays() -> None:
    loading = _status(SERVICE, [a_pod(_template(SERVICE), initializer=DONE, server=running())])
    pod = a_pod(_template(SERVICE), initializer=DONE, server=CRASH)
    seen = an_observation(pods=[pod], secrets=SECRETS)
    failed = plan({**SERVICE, "status": loading}, seen, SETTINGS, NOW + timedelta(minutes=5)).status
    assert failed is not None
    assert {each["lastTransitionTime"] for each in failed["conditions"]} == {"2026-03-01T12:00:00Z"}
    ready = a_pod(_template(SERVICE), initializer=DONE, server=running(ready=True))
    seen = an_observation(pods=[ready], secrets=SECRETS)
    well = plan({**SERVICE, "status": failed}, seen, SETTINGS, NOW + timedelta(minutes=9)).status
    assert well is not None
    changed = {each["type"] for each in well["conditions"] if each["lastTransitionTime"] == "2026-03-01T12:09:00Z"}
    assert changed == {"Ready", "Available"}


def test_a_download_in_progress_names_who_fetches_what() -> None:
    status = _status(SERVICE, [a_pod(_template(SERVICE), initializer=running())])
    assert _message(status) == f"The built-in initializer fetches {MINILM}."
