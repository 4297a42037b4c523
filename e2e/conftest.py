"""Before the first test: the chart of this checkout, installed with helm, and a hub for it to fetch from.

The cluster and the images must be there: `make e2e` brings them up, runs these tests in order, and takes them down.
"""

import uuid
from collections.abc import Generator, Iterator

import chart
import pytest
from kube import ROOT, CommandFailed, advertise_gpus, apply, sh

HERE = ROOT / "e2e"

RESTRICTED = {"pod-security.kubernetes.io/enforce": "restricted"}
"""Every namespace of these tests, the operator's too, takes only pods of the strictest Pod Security level."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.cluster)


@pytest.fixture(scope="session", autouse=True)
def _installed() -> None:
    try:
        sh("kubectl get --raw /readyz")
    except (CommandFailed, FileNotFoundError) as error:
        pytest.exit(
            f'no cluster ({error}): run `e2e/cluster/cluster up`, `load`, and eval "$(e2e/cluster/cluster env)"'
        )
    advertise_gpus(4)
    _restrict("default")
    _restrict("embedding-operator")
    sh("kubectl apply -f e2e/fake_hub/fake-hub.yaml")
    sh("kubectl rollout status deployment/fake-hub -n fake-hub --timeout=60s")
    chart.install()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace for one test."""
    name = f"test-{uuid.uuid4().hex[:8]}"
    _restrict(name)
    sh(f"kubectl wait --for=create serviceaccount/default -n {name} --timeout=60s")
    yield name
    sh(f"kubectl delete embeddingservices --all -n {name}")  # first: the operator has then no business there any more
    sh(f"kubectl delete namespace {name} --wait=false")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.when == "call" and report.failed:
        for command in (
            "kubectl get embeddingservices,deployments,pods --all-namespaces -o wide",
            "kubectl get events --all-namespaces --sort-by=.lastTimestamp",
            "kubectl logs deployment/embedding-operator -n embedding-operator --tail=50",
        ):
            report.sections.append((command, _try(command)))
    return report


def _restrict(namespace: str) -> None:
    apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace, "labels": RESTRICTED}})


def _try(command: str) -> str:
    try:
        return sh(command)
    except CommandFailed as error:
        return str(error)
