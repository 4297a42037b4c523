"""A new release of the chart takes over what the one before it made, while clients ask."""

import tarfile
from collections.abc import Iterator
from pathlib import Path

import chart
import operators
import pytest
from kube import CommandFailed, Service, apply, get, record, sh
from load import Answer, under_load
from services import a_service, with_token

PREVIOUS = "3bd9f91"
"""The last release that made one Deployment a service, named as the service, without revisions."""
NAME = "embedding-model"
DEPLOYMENTS = "deployments -l serving.embeddings.dev/service=embedding-model"

pytestmark = [pytest.mark.slow_cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def previous(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout of the release before, whose operator is in the cluster as embedding-operator:<commit>."""
    source = tmp_path_factory.mktemp("previous")
    try:
        sh(f"git archive {PREVIOUS} --output={source}/all.tar")
    except CommandFailed as error:
        pytest.skip(f"the history of this checkout does not go back to {PREVIOUS}: {error}")
    with tarfile.open(source / "all.tar") as tar:
        tar.extractall(source, filter="data")
    sh(f"e2e/cluster/cluster load-operator-of {PREVIOUS}")
    return source


@pytest.fixture
def installed_before(previous: Path) -> Iterator[None]:
    """The release before is installed, and this one again in the end."""
    chart.uninstall()
    chart.install(f"images.operator=embedding-operator:{PREVIOUS}", source=previous)
    yield
    chart.install()


@pytest.mark.usefixtures("installed_before")
def test_an_upgrade_from_before_revisions_and_back_and_forth_loses_no_service(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace))
    service = Service(NAME, namespace)
    service.is_ready()
    assert _deployments(namespace) == {NAME}

    with under_load(service, NAME, requests=3_000, seconds=150) as load:
        chart.install()
        _is_carried_over(service)
        answers = load.answers()
    _loses_none(answers)
    record(get(f"embeddingservice {NAME}", namespace), "Current", "carried-over")

    # The release before deletes at once what it did not plan: it is back by itself, and not without a gap.
    sh(f"helm rollback embedding-operator -n {operators.NAMESPACE} --wait --timeout 120s")
    sh(f"kubectl wait --for=create deployment/{NAME} -n {namespace} --timeout=60s")
    sh(f"kubectl rollout status deployment/{NAME} -n {namespace} --timeout=240s")
    service.is_ready()


def test_an_upgrade_and_its_rollback_fail_no_request(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace, replicas=1))
    service = Service(NAME, namespace)
    service.is_ready()
    made = _deployments(namespace)

    with under_load(service, NAME, requests=2_000, seconds=120) as load:
        chart.install("logging.level=DEBUG", "replicas=2")
        sh(f"helm rollback embedding-operator -n {operators.NAMESPACE} --wait --timeout 120s")
        operators.leader()
        answers = load.answers()

    _loses_none(answers)
    service.is_ready()
    assert _deployments(namespace) == made


def _is_carried_over(service: Service) -> None:
    """The Deployment without a revision is gone, and that of the revision serves."""
    sh(f"kubectl wait --for=delete deployment/{NAME} -n {service.namespace} --timeout=240s")
    service.is_ready()
    revision = get(f"embeddingservice {NAME}", service.namespace)["status"]["revision"]["serving"]
    assert _deployments(service.namespace) == {f"{NAME}-{revision}"}


def _deployments(namespace: str) -> set[str]:
    return {each["metadata"]["name"] for each in get(DEPLOYMENTS, namespace)["items"]}


def _loses_none(answers: list[Answer]) -> None:
    assert [answer.error for answer in answers if answer.error] == []
    assert len({answer.vector for answer in answers}) == 1, "the same model, the same vector"
