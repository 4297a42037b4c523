"""Before the first test: the chart of this checkout, installed with helm, and a hub for it to fetch from.

The cluster and the images must be there: `make e2e` brings them up, runs these tests in order, and takes them down.
"""

from collections.abc import Generator, Iterator

import chart
import pytest
from kube import ROOT, CommandFailed, advertise_gpus, sh
from namespaces import a_namespace, restrict

HERE = ROOT / "e2e"


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
    restrict("default")
    restrict("embedding-operator")
    sh("kubectl apply -f e2e/fake_hub/fake-hub.yaml")
    sh("kubectl rollout status deployment/fake-hub -n fake-hub --timeout=180s")
    chart.install()


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace for one test."""
    with a_namespace() as name:
        yield name


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


def _try(command: str) -> str:
    try:
        return sh(command)
    except CommandFailed as error:
        return str(error)
