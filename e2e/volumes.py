"""A volume for a cache: a directory of the node, which pods of every user may write to.

The nodes of these clusters have no provisioner, and the kubelet sets no group on such volumes.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from kube import apply, sh

__all__ = ["a_claim", "listed", "unused_for_an_hour"]

_PARENT, _DIRECTORY = "/var/tmp", "embedding-operator-e2e"
"""Of the node."""
_HELPERS = "fake-hub"
"""A namespace that admits pods of root."""


@contextmanager
def a_claim(namespace: str, name: str = "models", *, leads_to: str | None = None) -> Iterator[str]:
    """A PersistentVolumeClaim, bound to an empty volume that several pods may mount. Both are deleted in the end.

    `leads_to`: it is bound to what the claim of that name in another namespace has.
    """
    volume, directory = f"{namespace}-{name}", f"{leads_to or namespace}-{name}"
    if leads_to is None:
        _run(f"{volume}-make", f"mkdir -p {_DIRECTORY} && mkdir -m 777 {_DIRECTORY}/{directory}")
    spec = {"accessModes": ["ReadWriteMany"], "storageClassName": ""}
    apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {
                **spec,
                "capacity": {"storage": "10Gi"},
                "hostPath": {"path": f"{_PARENT}/{_DIRECTORY}/{directory}", "type": "Directory"},
                "claimRef": {"namespace": namespace, "name": name},
            },
        }
    )
    apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": name, "namespace": namespace},
            "spec": {**spec, "volumeName": volume, "resources": {"requests": {"storage": "10Gi"}}},
        }
    )
    try:
        is_bound = "jsonpath={.status.phase}=Bound"  # a service that is created before does not mount it
        sh(f"kubectl wait persistentvolumeclaim/{name} -n {namespace} --for={is_bound} --timeout=180s")
        yield name
    finally:
        sh(f"kubectl delete embeddingservices --all -n {namespace}")
        sh(f"kubectl delete persistentvolumeclaim {name} -n {namespace} --wait=false")
        sh(f"kubectl delete persistentvolume {volume} --wait=false")
        if leads_to is None:
            _run(f"{volume}-remove", f"rm -rf {_DIRECTORY}/{volume} && rmdir --ignore-fail-on-non-empty {_DIRECTORY}")


def listed(namespace: str, directory: str, name: str = "models") -> list[str]:
    """The entries of a directory of the volume."""
    return _run(f"{namespace}-{name}-list", f"ls -A {_DIRECTORY}/{namespace}-{name}/{directory}").split()


def unused_for_an_hour(namespace: str, name: str = "models") -> None:
    """Turn back the times at which the models of a cache were used: models of the last ten minutes stay."""
    _run(f"{namespace}-{name}-age", f"touch -d '1 hour ago' {_DIRECTORY}/{namespace}-{name}/.used/*")


def _run(pod: str, command: str) -> str:
    """Run a shell command as root in a directory of the node; returns what it prints."""
    apply(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": pod, "namespace": _HELPERS},
            "spec": {
                "restartPolicy": "Never",
                "containers": [
                    {
                        "name": "shell",
                        "image": "fake-hub",
                        "imagePullPolicy": "Never",
                        "command": ["sh", "-c", command],
                        "workingDir": "/node",
                        "securityContext": {"runAsUser": 0},
                        "volumeMounts": [{"name": "node", "mountPath": "/node"}],
                    }
                ],
                "volumes": [{"name": "node", "hostPath": {"path": _PARENT, "type": "Directory"}}],
            },
        }
    )
    try:
        sh(f"kubectl wait pod/{pod} -n {_HELPERS} --for=jsonpath={{.status.phase}}=Succeeded --timeout=180s")
        return sh(f"kubectl logs {pod} -n {_HELPERS}")
    finally:
        sh(f"kubectl delete pod {pod} -n {_HELPERS} --wait=true")
