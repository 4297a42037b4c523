"""When nothing happens, the operator writes nothing. IDLE_SECONDS=600 for the long look."""

import os
import shlex
import subprocess

import pytest
from kube import Service, apply, audit_log, get
from services import a_service, with_token
from waiting import settles

IDLE_SECONDS = int(os.environ.get("IDLE_SECONDS", "60"))


@pytest.mark.timeout(IDLE_SECONDS + 900)
def test_an_idle_operator_writes_nothing_but_its_lease(namespace: str) -> None:
    with_token(namespace)
    apply(a_service(namespace))
    service = Service("embedding-model", namespace)
    service.is_ready()
    _has_said_so(service)

    # The Event is its last write; the cluster's own controllers may still update the Deployment, or remove a Job's pod.
    written, versions = settles("what was written", lambda: (audit_log(), _versions(service)), seconds=5)
    assert written, "the audit log has the writes that made the service"
    watch = f"kubectl get embeddingservices -n {namespace} --watch-only -o name"
    with pytest.raises(subprocess.TimeoutExpired) as waited:
        subprocess.run(shlex.split(watch), timeout=IDLE_SECONDS, capture_output=True, check=True)

    assert not waited.value.stdout
    assert audit_log() == written
    assert _versions(service) == versions


def _has_said_so(service: Service) -> None:
    """Wait for the Event, which the operator records after the status."""
    which = f"reason=Ready,involvedObject.name={service.name}"
    watch = f"kubectl get events -n {service.namespace} --field-selector {which} --watch -o name"
    with subprocess.Popen(shlex.split(watch), stdout=subprocess.PIPE, text=True) as events:
        assert events.stdout is not None
        assert events.stdout.readline()
        events.terminate()


def _versions(service: Service) -> dict[str, str]:
    ours = get("embeddingservices,deployments,services,pods", service.namespace)["items"]
    return {f"{each['kind']} {each['metadata']['name']}": each["metadata"]["resourceVersion"] for each in ours}
