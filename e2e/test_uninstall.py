"""Uninstalling the chart takes the operator, and keeps what people have applied."""

from collections.abc import Iterator

import chart
import pytest
from kube import Service, apply, everything, sh
from services import a_service, with_token
from waiting import settles


@pytest.fixture
def installed_again() -> Iterator[None]:
    yield
    chart.install()


@pytest.mark.usefixtures("installed_again")
def test_uninstalling_the_chart_keeps_the_services_and_what_serves_them(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace))
    Service("embedding-model", namespace).is_ready()
    before = settles("what the namespace holds", lambda: everything(namespace), seconds=5)

    chart.uninstall()

    assert everything(namespace) == before
    assert sh("kubectl get crds -o name").count("serving.embeddings.dev") == 5
    left = sh("kubectl get clusterroles,clusterrolebindings -l app.kubernetes.io/instance=embedding-operator -o name")
    assert left == ""
