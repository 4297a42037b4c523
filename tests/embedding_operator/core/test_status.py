"""The status as the API server gets it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from embedding_operator.core import status, storage
from embedding_operator.core.rollout import FailedRevision, Phase
from embedding_operator.core.view import View
from embedding_operator.errors import Problem, Unavailable
from embedding_operator.resources.service_status import EmbeddingServiceStatus
from embedding_operator.resources.storage_container import StorageContainerStatus
from support.builders import NOW, SETTINGS, Raw, a_service, a_snapshot, a_storage_container, ended, running, waiting
from support.views import PREVIOUS, a_view, conditions_of

READY: Raw = {"ready": True}
DOWNLOADING: Raw = {"initializer": running()}
URL = "http://embedding-model.default.svc.cluster.local"
INVALID = Problem("InvalidSpec", "--x: unknown flag")


def desired(view: View) -> str:
    assert view.rollout is not None
    return view.rollout.desired


def rejected(before: Raw, *, generation: int = 2) -> View:
    service = a_service(status=before)
    service["metadata"]["generation"] = generation
    return View(a_snapshot(service), SETTINGS, NOW, problems=(INVALID,))


def times(found: Raw) -> dict[str, str]:
    return {each["type"]: each["lastTransitionTime"] for each in found["conditions"]}


def test_the_status_says_where_the_service_answers_and_what_was_decided() -> None:
    view = a_view(READY, service=a_service(args=["--model_name=mini"]))
    found = status.of_service(view)
    del found["conditions"]
    assert found == {
        "observedGeneration": 1,
        "url": URL,
        "address": {"url": URL},
        "manager": "default/embedding-operator",
        "backend": "auto",
        "backendReason": "The backend is auto: vllm if it serves the model exactly, else huggingface. "
        f"GET {URL}/v1/models reports the choice and its reason (backend, backend_reason).",
        "model": {"name": "mini"},
        "storageContainer": {"kind": "BuiltIn", "chosenBy": "no storage container matches"},
        "revision": {"serving": desired(view), "generation": 1},
        "replicas": 1,
        "readyReplicas": 1,
        "selector": f"serving.embeddings.dev/service=embedding-model,serving.embeddings.dev/revision={desired(view)}",
    }


REPORT = ended(0, '{"weights_bytes": 9, "revision": "c9745ed1", "code": {"b/code": "f1", "a/code": "e0"}}')


def test_the_model_has_the_commits_that_its_initializer_reports() -> None:
    found = status.of_service(a_view({"initializer": REPORT, "server": running()}, phase=Phase.FIRST))
    code = [{"repository": "a/code", "revision": "e0"}, {"repository": "b/code", "revision": "f1"}]
    assert found["model"] == {"name": "embedding-model", "revision": "c9745ed1", "code": code}
    EmbeddingServiceStatus.model_validate(found)


def test_the_commit_of_a_candidate_is_not_that_of_the_model_that_serves() -> None:
    view = a_view({"initializer": REPORT}, phase=Phase.SURGE, previous=[READY])
    assert status.of_service(view)["model"] == {"name": "embedding-model"}


def test_a_warning_has_its_severity() -> None:
    service = a_service(resources={"limits": {"memory": "512Mi"}})
    found = status.of_service(a_view({"initializer": REPORT}, service=service))
    assert [(each["type"], each["severity"]) for each in found["conditions"] if "severity" in each] == [
        ("MemoryTooSmall", "Warning")
    ]
    EmbeddingServiceStatus.model_validate(found)


@pytest.mark.parametrize(
    "view",
    [
        a_view(READY),
        a_view(DOWNLOADING, phase=Phase.SURGE, previous=[READY]),
        a_view(phase=Phase.HELD, failed=FailedRevision("f", "OutOfMemory", "Killed."), previous=[READY]),
        rejected({}),
    ],
)
def test_every_status_fits_the_crd(view: View) -> None:
    found = status.of_service(view)
    assert EmbeddingServiceStatus.model_validate(found).to_dict() == found


def test_every_condition_is_of_the_generation_that_the_status_is_of() -> None:
    found = status.of_service(rejected({}, generation=7))
    assert {found["observedGeneration"], *(each["observedGeneration"] for each in found["conditions"])} == {7}


def test_a_candidate_is_named_beside_the_revision_that_serves() -> None:
    view = a_view(DOWNLOADING, phase=Phase.SURGE, previous=[READY])
    assert status.of_service(view)["revision"] == {"serving": PREVIOUS, "candidate": desired(view), "generation": 1}


def test_a_failed_revision_is_recorded_with_its_reason() -> None:
    failed = FailedRevision("4e300000", "ImagePullFailed", "No such image.")
    found = status.of_service(a_view(phase=Phase.HELD, failed=failed, previous=[READY]))
    assert found["revision"]["failed"] == {
        "revision": "4e300000",
        "reason": "ImagePullFailed",
        "message": "No such image.",
    }


def test_after_a_fault_the_revision_that_the_service_selects_is_the_one_that_serves() -> None:
    surging = a_view(READY, phase=Phase.SURGE, previous=[READY])
    assert surging.rollout is not None
    switching = replace(surging.rollout, phase=Phase.SETTLED, serving=surging.rollout.desired)
    view = replace(surging, rollout=switching, fault=Unavailable("PUT services: 500"))
    assert status.of_service(view)["revision"]["serving"] == PREVIOUS


def test_the_replicas_of_a_candidate_are_not_counted_as_those_of_the_service() -> None:
    found = status.of_service(a_view(READY, DOWNLOADING, phase=Phase.SURGE, previous=[READY]))
    assert (found["replicas"], found["readyReplicas"]) == (1, 1)


def test_a_rejected_spec_without_pods_keeps_url_and_selector() -> None:
    before = status.of_service(a_view(READY))
    found = status.of_service(rejected(before))
    assert (found["url"], found["selector"], found["revision"]) == (
        before["url"],
        before["selector"],
        before["revision"],
    )


def test_a_rejected_service_that_never_ran_has_no_url() -> None:
    found = status.of_service(rejected({}))
    assert ("url" in found, found["replicas"]) == (False, 0)


def test_a_status_of_another_release_is_not_read() -> None:
    found = status.of_service(rejected({"url": URL, "model": {"name": "a", "colour": "blue"}, "unknown": 1}))
    assert (found["url"], found["model"], "unknown" in found) == (URL, {"name": "a", "colour": "blue"}, False)


def test_a_model_name_of_thousands_of_characters_is_cut_where_kubectl_prints_it() -> None:
    service = a_service(model={"name": f"owner/{'x' * 240}-end"})
    name = status.of_service(a_view(READY, service=service))["model"]["name"]
    assert (len(name), name.startswith("owner/xx"), name.endswith("x-end")) == (64, True, True)


def test_a_condition_keeps_the_time_of_its_last_transition_while_its_status_stays() -> None:
    first = status.of_service(a_view(DOWNLOADING))
    later = NOW + timedelta(minutes=5)
    second = status.of_service(replace(a_view(READY, service=a_service(status=first)), now=later))
    kept, changed = "2026-03-01T12:00:00Z", "2026-03-01T12:05:00Z"
    assert times(second) == {
        "Ready": changed,
        "Reconciling": changed,
        "Stalled": kept,
        "Accepted": kept,
        "ModelAvailable": changed,
        "Available": changed,
    }


@pytest.mark.parametrize(
    ("view", "seconds"),
    [
        (a_view(READY), None),
        (a_view({**READY, "ready_changed": 0.5}), 1.5),
        (a_view({"age": 10, "initializer": waiting("PodInitializing")}), 20),
        (a_view({"age": 100, "initializer": running()}), 900),
    ],
)
def test_the_next_deadline_is_when_the_status_may_change_although_nothing_happens(
    view: View, seconds: float | None
) -> None:
    assert status.next_deadline(view) == (None if seconds is None else timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("fields", "state", "words"),
    [
        ({"prefixes": ["hf://"]}, "True/Accepted", "It downloads hf://."),
        ({"regexes": ["^s3://"]}, "True/Accepted", "It downloads /^s3:///."),
        ({}, "True/Accepted", "It has no supportedUriFormats: it downloads what no other storage container claims"),
        ({"disabled": True}, "False/Disabled", "No service uses it: it is disabled"),
        ({"regexes": ["("]}, "False/InvalidSpec", "Services that use it stay as they are until it is corrected."),
        ({"container": {"colour": "blue"}}, "False/InvalidSpec", "colour"),
    ],
)
def test_a_storage_container_says_what_it_downloads_or_why_it_does_not(
    fields: dict[str, Any], state: str, words: str
) -> None:
    found = status.of_storage_container(storage.read(a_storage_container(**fields)), NOW)
    assert conditions_of(found) == {"Accepted": state}
    assert words in found["conditions"][0]["message"]
    assert StorageContainerStatus.model_validate(found).to_dict() == found
