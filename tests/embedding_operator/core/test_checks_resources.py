from fractions import Fraction

import pytest

from embedding_operator.core.checks.accelerators import check_accelerator
from embedding_operator.core.checks.resources import check_resources
from embedding_operator.core.quantity import amount
from embedding_operator.resources.kubernetes import ResourceRequirements
from embedding_operator.resources.v1alpha1 import EmbeddingServiceSpec
from embedding_operator.settings import Settings
from support.builders import MINILM

SETTINGS = Settings(runtime_images={"cpu": "runtime:cpu", "nvidia.com/gpu": "runtime:cuda"})


def _messages(limits: dict[str, str | int], requests: dict[str, str | int] | None = None) -> list[str]:
    resources = ResourceRequirements.model_validate({"limits": limits, "requests": requests or {}})
    return [each.message for each in check_resources(resources, "spec.resources")]


@pytest.mark.parametrize(
    ("limits", "requests"),
    [
        ({}, {}),
        ({"cpu": "1", "memory": "2Gi", "nvidia.com/gpu": 1}, {"cpu": "500m", "nvidia.com/gpu": "1"}),
        ({"memory": "1024Mi"}, {"memory": "1Gi"}),
        ({"ephemeral-storage": "10Gi"}, {"ephemeral-storage": "1Gi"}),
        ({"memory": "1Gi", "hugepages-2Mi": "128Mi"}, {"hugepages-2Mi": "128Mi"}),
        ({"nvidia.com/mig-1g.10gb": 1, "rdma/hca_shared_devices_a": 1}, {}),
        ({}, {"cpu": 4}),
        ({"memory": "9223372036854775807"}, {}),
    ],
)
def test_resources_that_an_api_server_accepts_have_no_problem(
    limits: dict[str, str | int], requests: dict[str, str | int]
) -> None:
    assert _messages(limits, requests) == []


@pytest.mark.parametrize(
    ("limits", "requests", "words"),
    [
        (
            {"memory": "1e99"},
            {},
            "spec.resources.limits.memory: '1e99' is not a quantity: write a number with a suffix",
        ),
        ({"memory": "9" * 60}, {}, "is too large: a quantity is at most 2^63-1"),
        ({"memory": "9" * 5000}, {}, "is not a quantity"),
        ({"memory": "1" + "0" * 30 + "Ei"}, {}, "is too large"),
        ({"cpu": "1e" + "9" * 50}, {}, "is not a quantity"),
        ({}, {"cpu": "1e99"}, "spec.resources.requests.cpu: '1e99'"),
        ({"cpu": "1"}, {"cpu": "2"}, "the request of cpu, 2, is above its limit, 1"),
        ({"nvidia.com/gpu": "1500m"}, {}, "spec.resources.limits.nvidia.com/gpu: 1500m is not a whole number"),
        ({"nvidia.com/gpu": 1}, {"nvidia.com/gpu": 2}, "request 2 and limit 1 of nvidia.com/gpu must be equal"),
        ({}, {"amd.com/gpu": 1}, "spec.resources.requests has amd.com/gpu: set it in spec.resources.limits too"),
        ({"gpu": 1}, {}, "spec.resources.limits: 'gpu' is not a resource: use cpu, memory"),
        ({"kubernetes.io/gpu": 1}, {}, "'kubernetes.io/gpu' is not a resource"),
        ({"../x": 1}, {}, "'../x' is not a resource"),
        ({"hugepages-2Mi": "4Mi"}, {}, "huge pages need cpu or memory beside them"),
        ({"hugepages-x": "4Mi", "cpu": 1}, {}, "'hugepages-x' is not a resource"),
    ],
)
def test_a_problem_names_the_field_the_value_and_what_is_allowed(
    limits: dict[str, str | int], requests: dict[str, str | int], words: str
) -> None:
    (message,) = _messages(limits, requests)
    assert words in message


@pytest.mark.parametrize(
    ("text", "value"), [("1000m", 1), ("1Ki", 1024), ("1e3", 1000), ("1E-3", Fraction(1, 1000)), ("0", 0)]
)
def test_quantities_are_compared_by_value(text: str, value: Fraction) -> None:
    assert amount(text) == value


def _accelerator(limits: dict[str, int | str], image: str | None = None) -> tuple[str, list[tuple[str, str]]]:
    given = {"model": {"storageUri": MINILM}, "resources": {"limits": limits}, **({"image": image} if image else {})}
    name, problems = check_accelerator(EmbeddingServiceSpec.model_validate(given), SETTINGS)
    return name, [(str(each.reason), each.message) for each in problems]


@pytest.mark.parametrize(
    ("limits", "accelerator"),
    [
        ({}, "cpu"),
        ({"cpu": 1, "memory": "1Gi", "ephemeral-storage": "1Gi", "hugepages-2Mi": "2Mi"}, "cpu"),
        ({"nvidia.com/gpu": 1}, "nvidia.com/gpu"),
        ({"nvidia.com/gpu": 0}, "cpu"),
        ({"nvidia.com/gpu": 1, "rdma/hca": 1}, "nvidia.com/gpu"),
        ({"rdma/hca": 1}, "cpu"),
    ],
)
def test_the_accelerator_is_what_the_limits_ask_for(limits: dict[str, int | str], accelerator: str) -> None:
    assert _accelerator(limits) == (accelerator, [])


@pytest.mark.parametrize("name", ["nvidia.com/mig-1g.10gb", "amd.com/gpu", "habana.ai/gaudi", "nvidia.com/gpu.shared"])
def test_an_accelerator_without_an_image_is_refused_with_the_value_that_would_map_it(name: str) -> None:
    _, [(reason, message)] = _accelerator({name: 1})
    assert reason == "UnknownAccelerator"
    assert f"images.runtime.{name}" in message
    assert "it has images for: nvidia.com/gpu" in message


def test_an_image_of_the_users_own_may_serve_an_accelerator_that_the_operator_does_not_know() -> None:
    assert _accelerator({"amd.com/gpu": 1}, image="rocm:1") == ("amd.com/gpu", [])


def test_two_kinds_of_accelerator_are_refused() -> None:
    _, [(reason, message)] = _accelerator({"amd.com/gpu": 1, "nvidia.com/gpu": 1})
    assert (reason, message.count("com/gpu")) == ("InvalidSpec", 2)
