"""MemoryTooSmall: the warning before a server is killed."""

from typing import Any

import pytest

from embedding_operator.core.conditions import calculate
from embedding_operator.core.records import Condition
from embedding_operator.core.rollout import Phase
from embedding_operator.core.view import View
from embedding_operator.errors import Problem, Unavailable
from support.builders import NOW, SETTINGS, Raw, a_service, a_snapshot, ended, running
from support.views import a_view

WEIGHTS = 90868376
REPORT = f'{{"weights_bytes": {WEIGHTS}}}'
LOADING: Raw = {"initializer": ended(0, REPORT), "server": running()}


def limited(memory: str | None = "1Gi", **fields: Any) -> Raw:
    return a_service(resources={"limits": {"memory": memory} if memory else {}}, **fields)


def warning(view: View) -> Condition | None:
    return next((each for each in calculate(view) if each.type == "MemoryTooSmall"), None)


def test_a_limit_below_what_the_model_needs_is_a_warning_with_both_numbers_and_the_remedy() -> None:
    found = warning(a_view(LOADING, phase=Phase.FIRST, service=limited("1Gi")))
    assert found is not None
    assert (found.status, found.reason, found.is_warning) == ("True", "MemoryTooSmall", True)
    assert found.message == (
        "spec.resources.limits.memory is 1Gi, but with 87Mi of weights the server needs 1187Mi or more under load: "
        "the kernel may kill the server. Set spec.resources.limits.memory to 1216Mi or more."
    )


@pytest.mark.parametrize("pod", [LOADING, {**LOADING, "ready": True}, {**LOADING, "server": ended(137)}])
def test_it_is_there_from_the_end_of_the_download_for_as_long_as_a_pod_exists(pod: Raw) -> None:
    assert warning(a_view(pod, service=limited())) is not None


def test_it_does_not_keep_a_service_from_being_ready() -> None:
    view = a_view({"ready": True, "initializer": ended(0, REPORT)}, service=limited())
    assert warning(view) is not None
    assert next((each.status, each.reason) for each in calculate(view) if each.type == "Ready") == ("True", "Ready")


@pytest.mark.parametrize(
    ("service", "needed"),
    [
        (limited("1216Mi"), None),
        (limited(None), None),
        (limited(args=["--dtype=float16"]), "1144Mi"),
        (limited(args=["--backend=huggingface", "--quantize=int8"]), "1122Mi"),
        (limited(args=["--dtype=float32"]), "1187Mi"),
        (limited(backend="vllm"), "1187Mi"),
    ],
)
def test_what_is_needed_depends_on_weights_and_flags(service: Raw, needed: str | None) -> None:
    found = warning(a_view(LOADING, service=service))
    assert (found and f"needs {needed} or more" in found.message) == (None if needed is None else True)


def test_memory_of_a_gpu_is_not_compared_with_a_limit_of_the_container() -> None:
    resources = {"limits": {"memory": "512Mi", "nvidia.com/gpu": "1"}}
    assert warning(a_view(LOADING, service=a_service(resources=resources))) is None


@pytest.mark.parametrize(
    "initializer",
    [
        running(),
        ended(1, REPORT),
        ended(0),
        ended(0, "downloaded"),
        ended(0, "[]"),
        ended(0, '{"weights_bytes": -1}'),
        ended(0, '{"weights_bytes": "many"}'),
        ended(0, f'{{"weights_bytes": {10**18}}}'),
        ended(0, '{"weights_bytes": 9086'),
    ],
)
def test_nothing_is_claimed_without_a_report(initializer: Raw) -> None:
    assert warning(a_view({"initializer": initializer}, service=limited())) is None


def test_it_is_gone_as_soon_as_the_limit_is_raised_while_the_old_pods_still_run() -> None:
    assert warning(a_view(outdated=[LOADING], service=limited())) is not None
    assert warning(a_view(outdated=[LOADING], service=limited("2Gi"))) is None


def reported(generation: int) -> Raw:
    said = {"status": "True", "reason": "MemoryTooSmall", "message": "The limit is low.", "severity": "Warning"}
    return {"conditions": [{"type": "MemoryTooSmall", **said, "observedGeneration": generation}]}


@pytest.mark.parametrize(("generation", "message"), [(1, "The limit is low."), (0, None)])
def test_a_fault_before_the_spec_was_read_keeps_the_warning_of_the_same_spec(
    generation: int, message: str | None
) -> None:
    snapshot = a_snapshot(limited(status=reported(generation)))
    found = warning(View(snapshot, SETTINGS, NOW, fault=Unavailable("GET secrets: 500")))
    assert (found.message if found else None) == message


def test_a_rejected_spec_is_not_compared() -> None:
    snapshot = a_snapshot(limited(status=reported(0)))
    assert warning(View(snapshot, SETTINGS, NOW, problems=(Problem("InvalidSpec", "--x: unknown flag"),))) is None
