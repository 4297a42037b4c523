"""Load on a service from inside the cluster, and what its answers say."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from kube import ROOT, CommandFailed, Service, apply, sh
from waiting import eventually

__all__ = ["Answer", "Load", "under_load"]

_CLIENT = ROOT / "e2e" / "load_client.py"


@dataclass(frozen=True)
class Answer:
    """One request: when it was sent and answered (seconds), the vector's first number, or what went wrong."""

    sent: float
    received: float
    keep: bool
    vector: str | None = None
    error: str | None = None


@dataclass
class Load:
    """Clients that ask from now on, for so many seconds at most."""

    namespace: str
    name: str
    seconds: int

    def stop(self) -> list[Answer]:
        """Tell clients that ask `until_stopped` that it is enough; their answers."""
        eventually("the clients have received SIGTERM", self._is_terminated)
        return self.answers()

    def answers(self) -> list[Answer]:
        """Wait until the clients have sent all requests, and return the answers in the order of sending."""
        wait = f"kubectl wait --for=jsonpath='{{.status.phase}}'=Succeeded pod/{self.name} -n {self.namespace}"
        eventually("the clients have ended", lambda: sh(f"{wait} --timeout=60s"), within=self.seconds + 120)
        lines = sh(f"kubectl logs {self.name} -n {self.namespace}").splitlines()
        return sorted((Answer(**json.loads(line)) for line in lines), key=lambda answer: answer.sent)

    def _is_terminated(self) -> bool:
        try:
            sh(f"kubectl exec {self.name} -n {self.namespace} -- python -c 'import os; os.kill(1, 15)'")
        except CommandFailed:  # the clients may end, and with them their container, before the command in it does
            phase = "jsonpath='{.status.phase}'=Succeeded"
            sh(f"kubectl wait pod/{self.name} -n {self.namespace} --for={phase} --timeout=10s")
        return True


@contextmanager
def under_load(service: Service, model: str, *, name: str = "load", seconds: int, **options: int) -> Iterator[Load]:
    """Clients of a service, as a pod; `options` are those of load_client.py."""
    sh(f"kubectl create configmap {name} -n {service.namespace} --from-file={_CLIENT}")
    url = f"http://{service.name}.{service.namespace}.svc"
    flags = [f"--seconds={seconds}"]
    flags += [f"--{key.replace('_', '-')}" + ("" if value is True else f"={value}") for key, value in options.items()]
    apply(_pod(name, service.namespace, [url, model, *flags]))
    sh(f"kubectl wait --for=condition=Ready pod/{name} -n {service.namespace} --timeout=180s")
    try:
        yield Load(service.namespace, name, seconds)
    finally:
        sh(f"kubectl delete pod/{name} configmap/{name} -n {service.namespace} --grace-period=1")


def _pod(name: str, namespace: str, args: list[str]) -> dict[str, object]:
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 1000, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "client",
                    "image": "embedding-storage:latest",
                    "imagePullPolicy": "Never",
                    "command": ["python", "/client/load_client.py", *args],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                    "volumeMounts": [{"name": "client", "mountPath": "/client"}],
                }
            ],
            "volumes": [{"name": "client", "configMap": {"name": name}}],
        },
    }
