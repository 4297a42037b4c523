"""A change of the model, or of anything that can move vectors, under load: never mixed, never down.

REQUESTS=20000 for the long look: at least so many with every change.
"""

import os
from collections.abc import Iterator
from typing import Any

import pytest
from kube import Service, advertise_gpus, apply, get, sh
from load import Answer, under_load
from services import MINILM, a_service, with_token
from waiting import eventually

REQUESTS = int(os.environ.get("REQUESTS", "8000"))
REQUESTS_WITH_BAD_CHANGE = int(os.environ.get("REQUESTS", "1000"))
"""Clients ask throughout the change; these are the fewest requests."""
LONGEST = 240 + REQUESTS // 10
"""Seconds in which two busy cores answer so many requests."""

pytestmark = pytest.mark.timeout(LONGEST + 600)

OTHER = "hf://example/all-MiniLM-L6-v2-cls"
"""Of the same size; its vectors are others."""
SMALL = {"limits": {"cpu": "1", "memory": "2Gi"}, "requests": {"cpu": "50m", "memory": "256Mi"}}
GPU = {"limits": {**SMALL["limits"], "nvidia.com/gpu": "1"}, "requests": SMALL["requests"]}
QUICK = {"surgeWaitSeconds": 5, "progressDeadlineSeconds": 40}


@pytest.fixture
def one_gpu() -> Iterator[None]:
    advertise_gpus(1)
    yield
    advertise_gpus(4)


def test_a_change_of_the_model_under_load_mixes_no_vectors_and_fails_no_request(namespace: str) -> None:
    service = _ready(namespace, replicas=2, resources=SMALL)
    old = _serving(service)
    with under_load(service, service.name, requests=REQUESTS, after_change=2_000, seconds=LONGEST, threads=6) as load:
        apply(_a_service(namespace, model={"storageUri": OTHER}, replicas=2, resources=SMALL))
        answers = load.answers()

    assert _errors(answers) == []
    assert len(answers) >= REQUESTS
    _mixes_nothing(answers)
    assert answers[-1].vector != answers[0].vector
    service.is_ready()
    assert _serving(service) != old
    _has_only(service, _serving(service))
    eventually("the Events are recorded", lambda: {"Candidate", "Switched"} <= _events(service))


BAD: dict[str, dict[str, Any]] = {
    "ImagePullFailed": {"image": "nowhere.example/embedding-runtime:none"},
    "ModelNotFound": {"model": {"storageUri": "hf://example/no-such-model"}},
    "RuntimeFailed": {"args": ("--task=text_ranking",)},  # ends at start: the model is no cross-encoder
}


@pytest.mark.parametrize("resources", [SMALL, GPU], ids=["cpu", "gpu"])
@pytest.mark.parametrize("reason", BAD)
def test_a_failing_change_keeps_the_service_up_if_a_second_pod_fits(
    namespace: str, reason: str, resources: dict[str, Any]
) -> None:
    service = _ready(namespace, resources=resources)
    old = _serving(service)
    with under_load(
        service, service.name, requests=REQUESTS_WITH_BAD_CHANGE, seconds=LONGEST, until_stopped=True
    ) as load:
        apply(_a_service(namespace, resources=resources, **BAD[reason]))
        assert "still serving" in service.says(reason)
        service.says(reason, "Stalled")
        answers = load.stop()

    assert _errors(answers) == []
    assert len(answers) >= REQUESTS_WITH_BAD_CHANGE
    assert len({answer.vector for answer in answers}) == 1
    assert _serving(service) == old
    _has_only(service, old)

    apply(_a_service(namespace, resources=resources))
    service.is_ready()
    assert _serving(service) == old


@pytest.mark.usefixtures("one_gpu")
@pytest.mark.parametrize("reason", ["ImagePullFailed", "RuntimeFailed"])
def test_a_failing_change_on_the_only_gpu_is_rolled_back(namespace: str, reason: str) -> None:
    service = _ready(namespace, resources=GPU)
    old = _serving(service)
    # A packet to a pod that has just gone may get no answer at all: no client waits for it until the way back is over.
    with under_load(service, service.name, requests=100, seconds=LONGEST, until_stopped=True, timeout=5) as load:
        apply(_a_service(namespace, resources=GPU, **BAD[reason]))
        service.says(reason, "Stalled")
        sh(f"kubectl wait --for=condition=Available embeddingservice/{service.name} -n {namespace} --timeout=600s")
        answers = load.stop()

    assert _errors(answers), "no other pod fitted beside it: it was down while the candidate was tried"
    assert len({answer.vector for answer in answers if answer.vector}) == 1, "the candidate never answered"
    assert answers[-1].vector == answers[0].vector, "the last good revision is back"
    assert _serving(service) == old
    _has_only(service, old)
    eventually("the Events are recorded", lambda: {"MakingRoom", "RolledBack"} <= _events(service))


@pytest.mark.usefixtures("one_gpu")
def test_a_model_that_does_not_exist_takes_nothing_down_even_on_the_only_gpu(namespace: str) -> None:
    """A Job looks for it before the serving pod has to make room."""
    service = _ready(namespace, resources=GPU)
    old = _serving(service)
    with under_load(service, service.name, requests=100, seconds=LONGEST, until_stopped=True) as load:
        apply(_a_service(namespace, resources=GPU, **BAD["ModelNotFound"]))
        assert "still serving" in service.says("ModelNotFound")
        service.says("ModelNotFound", "Stalled")
        answers = load.stop()

    assert _errors(answers) == []
    assert len({answer.vector for answer in answers}) == 1
    assert _serving(service) == old
    assert "MakingRoom" not in _events(service)


@pytest.mark.usefixtures("one_gpu")
def test_a_change_on_the_only_gpu_takes_over_in_place(namespace: str) -> None:
    service = _ready(namespace, resources=GPU)
    old = _serving(service)
    with under_load(service, service.name, requests=100, after_change=200, seconds=240) as load:
        apply(_a_service(namespace, model={"storageUri": OTHER}, resources=GPU))
        answers = load.answers()

    _mixes_nothing(answers)
    service.is_ready()
    assert _serving(service) != old


def test_a_change_that_does_not_affect_vectors_keeps_the_revision(namespace: str) -> None:
    service = _ready(namespace, resources=SMALL)
    old = _serving(service)
    larger = {**SMALL, "requests": {"cpu": "60m", "memory": "300Mi"}}
    with under_load(service, service.name, requests=500, seconds=90) as load:
        apply(_a_service(namespace, resources=larger))
        sh(f"kubectl rollout status deployment/embedding-model-{old} -n {namespace} --timeout=600s")
        answers = load.answers()

    assert _errors(answers) == []
    service.is_ready()
    assert _serving(service) == old


def _ready(namespace: str, **spec: Any) -> Service:
    with_token(namespace)
    apply(_a_service(namespace, **spec))
    service = Service("embedding-model", namespace)
    service.is_ready()
    return service


def _a_service(namespace: str, *, model: dict[str, Any] | None = None, **spec: Any) -> dict[str, Any]:
    whole = {"storageUri": MINILM, "tokenSecretRef": {"name": "hf-secret"}, **(model or {})}
    return a_service(namespace, model=whole, **{"rollout": QUICK, **spec})


def _serving(service: Service) -> str:
    serving: str = get(f"embeddingservice {service.name}", service.namespace)["status"]["revision"]["serving"]
    return serving


def _has_only(service: Service, revision: str) -> None:
    """Wait until the Deployments of all other revisions are deleted."""

    def found() -> list[str]:
        items = get(f"deployments -l {service.pods}", service.namespace)["items"]
        return [each["metadata"]["name"] for each in items]

    eventually(f"only revision {revision} is left", lambda: found() == [f"{service.name}-{revision}"])


def _events(service: Service) -> set[str]:
    events = get(f"events --field-selector involvedObject.name={service.name}", service.namespace)["items"]
    return {each["reason"] for each in events}


def _errors(answers: list[Answer]) -> list[str]:
    return [answer.error for answer in answers if answer.error]


def _mixes_nothing(answers: list[Answer]) -> None:
    """No request that was sent after the first answer of the new model had arrived was answered by the old one."""
    given = [answer for answer in answers if answer.vector]
    old = given[0].vector
    switched = min((answer.received for answer in given if answer.vector != old), default=float("inf"))
    late = [answer for answer in given if answer.vector == old and answer.sent > switched]
    assert not late, f"{len(late)} of the old model after {switched}; the last {late[-1].sent - switched:.2f} s later"
