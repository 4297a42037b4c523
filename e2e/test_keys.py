"""API keys come from a Secret: nothing runs without it, and a server that runs obeys its changes, gone or not."""

import json
import shlex
import subprocess
from collections.abc import Iterator

import pytest
from kube import Service, forwarded, get, sh
from services import with_token
from waiting import eventually

PROBES = ("/healthz", "/readyz", "/metrics")


@pytest.fixture
def hub() -> Iterator[None]:
    """What fetches the example's model, with the token of `with_token`."""
    sh("kubectl apply -f examples/huggingface-storage.yaml")
    yield
    sh("kubectl delete -f examples/huggingface-storage.yaml")


@pytest.mark.usefixtures("hub")
def test_the_keys_of_a_secret_are_required_and_can_change(namespace: str) -> None:
    with_token(namespace)
    sh(f"kubectl apply -n {namespace} -f examples/embedding-api-keys.yaml")
    service = Service("embedding-model", namespace)

    message = service.says("SecretNotFound")
    assert f"kubectl create secret generic api-keys -n {namespace} --from-file=api-keys=<file" in message
    assert service.has_made() == []

    _keys("create", namespace, "search sk-first-long-enough 100000")
    service.is_ready()
    pods = _pods(service)
    with forwarded(f"service/{service.name}", 80, namespace) as url:
        assert [_ask(url + path) for path in PROBES] == [200, 200, 200]
        assert (_embed(url), _embed(url, "sk-other-long-enough"), _embed(url, "sk-first-long-enough")) == (
            401,
            401,
            200,
        )

        _keys("replace", namespace, "search sk-second-long-enough")
        _is_let_in(url, "sk-second-long-enough")
        second, first = "sk-second-long-enough", "sk-first-long-enough"
        eventually("only the second is let in", lambda: (_embed(url, second), _embed(url, first)) == (200, 401))

        sh(f"kubectl delete secret api-keys -n {namespace}")
        _is_missed(namespace)
        assert _embed(url, "sk-second-long-enough") == 200

        _keys("create", namespace, "search sk-third-long-enough")
        service.is_ready()
        _is_let_in(url, "sk-third-long-enough")
    assert _pods(service) == pods
    made = sh(f"kubectl get embeddingservices,deployments,replicasets,pods,events -n {namespace} -o yaml")
    logs = sh(f"kubectl logs -n {namespace} -l {service.pods} --all-containers --tail=-1")
    assert [text for text in (made, logs) if "-long-enough" in text] == []


def _keys(verb: str, namespace: str, line: str) -> None:
    """Create or replace the Secret, as the README does."""
    secret = f"kubectl create secret generic api-keys -n {namespace} --from-file=api-keys=/dev/stdin"
    sh(f"kubectl {verb} -f -", stdin=sh(f"{secret} --dry-run=client -o yaml", stdin=f"{line}\n"))


def _pods(service: Service) -> list[tuple[str, int]]:
    """Each pod, and how often its server was started again."""
    pods = get(f"pods -l {service.servers}", service.namespace)["items"]
    return [(pod["metadata"]["uid"], pod["status"]["containerStatuses"][0]["restartCount"]) for pod in pods]


def _embed(url: str, key: str | None = None) -> int:
    body = json.dumps({"model": "embedding-model", "input": "a text"})
    return _ask(f"{url}/v1/embeddings -H 'Content-Type: application/json' --data @-", key, stdin=body)


def _is_let_in(url: str, key: str) -> None:
    """Wait until it is: a kubelet brings what changed when it next looks at the pod."""
    _ask(f"{url}/v1/models --fail --retry 300 --retry-delay 1 --retry-all-errors", key)


def _is_missed(namespace: str) -> None:
    """Wait until the kubelet has looked for what a pod mounts, and found nothing."""
    command = f"kubectl get events -n {namespace} --field-selector reason=FailedMount --watch -o name"
    with subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout
        assert watch.stdout.readline()
        watch.terminate()


def _ask(what: str, key: str | None = None, *, stdin: str | None = None) -> int:
    """The status of the answer."""
    header = "" if key is None else f"-H 'Authorization: Bearer {key}'"
    command = f"curl --silent --show-error --output /dev/null --write-out %{{http_code}} {header} {what}"
    return int(sh(command, stdin=stdin)[-3:])
