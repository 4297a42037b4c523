"""What the tests do with the cluster: commands as a person types them, and waits for what they bring about.

kubectl, helm and the kubeconfig come from the environment: `eval "$(e2e/cluster/cluster env)"`.
"""

import json
import os
import re
import shlex
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "ROOT",
    "TOKEN",
    "CommandFailed",
    "Service",
    "advertise_gpus",
    "apply",
    "audit_log",
    "everything",
    "forwarded",
    "get",
    "record",
    "requests_to_hub",
    "sh",
]

ROOT = Path(__file__).parent.parent
TOKEN = "hf_of_the_guide"
"""What the fake hub asks for."""


class CommandFailed(Exception):
    """A command ended with another status than 0. Its words are what it wrote to stderr."""


def sh(command: str, *, stdin: str | None = None) -> str:
    """Run a command in the repository's root, without a shell, and return what it wrote to stdout.

    Raises CommandFailed.
    """
    done = subprocess.run(
        shlex.split(command), input=stdin, capture_output=True, text=True, timeout=700, cwd=ROOT, check=False
    )
    if done.returncode != 0:
        raise CommandFailed(f"{command}: {done.stderr.strip()}")
    return done.stdout


def apply(manifest: Mapping[str, Any]) -> None:
    """`kubectl apply` of one object."""
    sh("kubectl apply -f -", stdin=json.dumps(manifest))


def get(what: str, namespace: str = "default") -> dict[str, Any]:
    """An object or a list, as `kubectl get WHAT` finds it."""
    found: dict[str, Any] = json.loads(sh(f"kubectl get {what} -n {namespace} -o json"))
    return found


def everything(namespace: str) -> frozenset[str]:
    """The names of all that a namespace holds, of every kind that the API server knows; Events aside."""
    kinds = sh("kubectl api-resources --verbs=list --namespaced -o name").split()
    listed = [kind for kind in kinds if not kind.startswith("events")]
    return frozenset(sh(f"kubectl get {','.join(listed)} -n {namespace} -o name").split())


@dataclass(frozen=True)
class Service:
    """An EmbeddingService in the cluster."""

    name: str
    namespace: str = "default"

    @property
    def pods(self) -> str:
        """The label selector of what is made for it."""
        return f"serving.embeddings.dev/service={self.name}"

    @property
    def servers(self) -> str:
        """The label selector of its pods that serve, or will: those of Jobs have no revision."""
        return f"{self.pods},serving.embeddings.dev/revision"

    def is_ready(self, timeout: str = "600s") -> None:
        """Wait until READY is True."""
        sh(f"kubectl wait --for=condition=Ready embeddingservice/{self.name} -n {self.namespace} --timeout={timeout}")

    def says(self, reason: str, condition: str = "Ready") -> str:
        """Wait until a condition has this reason, and return its message."""
        conditions = self.shown(reason, condition)["status"]["conditions"]
        [message] = [str(each["message"]) for each in conditions if each["type"] == condition]
        return message

    def shown(self, reason: str, condition: str = "Ready") -> dict[str, Any]:
        """The same; returns the object as it was then: a moment later, the reason may be another one."""
        path = f'{{.status.conditions[?(@.type=="{condition}")].reason}}'
        return self._when(f"jsonpath={shlex.quote(path)}={reason}")

    def not_ready(self) -> dict[str, Any]:
        """Wait until READY is False; returns the object as it was then."""
        return self._when("condition=Ready=False")

    def _when(self, condition: str) -> dict[str, Any]:
        wait = f"kubectl wait embeddingservice/{self.name} -n {self.namespace} --timeout=300s -o json"
        found: dict[str, Any] = json.loads(sh(f"{wait} --for={condition}"))
        return found

    def has_made(self, kinds: str = "deployments,replicasets,pods,services") -> list[str]:
        """The names of what carries its label."""
        return sh(f"kubectl get {kinds} -n {self.namespace} -l {self.pods} -o name").split()


def record(service: Mapping[str, Any], expected: str, name: str) -> None:
    """Keep an EmbeddingService as the cluster has it, for the real kstatus library to judge: `make kstatus`.

    `expected` is Current, InProgress, Failed or Terminating. Files go to KSTATUS_DIR, by default e2e/.recorded.
    """
    directory = Path(os.environ.get("KSTATUS_DIR", ROOT / "e2e" / ".recorded"))
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{name}.json").write_text(json.dumps({"expected": expected, "object": service}, indent=2) + "\n")


@contextmanager
def forwarded(target: str, port: int, namespace: str = "default") -> Iterator[str]:
    """`kubectl port-forward`: the URL on this machine at which a port of the target answers."""
    command = f"kubectl port-forward {target} :{port} -n {namespace}"
    with subprocess.Popen(shlex.split(command), stdout=subprocess.PIPE, text=True) as forward:
        try:
            line = forward.stdout.readline() if forward.stdout else ""
            local = re.search(r"127\.0\.0\.1:(\d+)", line)
            assert local, f"{command} says {line!r}"
            yield f"http://127.0.0.1:{local[1]}"
        finally:
            forward.terminate()


def advertise_gpus(count: int) -> None:
    """Have every node claim so many GPUs. They are for the scheduler alone; no container gets a device."""
    for node in sh("kubectl get nodes -o name").split():
        patch = [{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": str(count)}]
        sh(f"kubectl patch {node} --subresource=status --type=json -p {shlex.quote(json.dumps(patch))}")
        allocatable = r"'{.status.allocatable.nvidia\.com/gpu}'"
        sh(f"kubectl wait {node} --for=jsonpath={allocatable}={count} --timeout=180s")


def requests_to_hub() -> list[dict[str, Any]]:
    """The requests that the fake hub received: see `Seen` in tests/support/fake_hub.py."""
    seen: list[dict[str, Any]] = json.loads(
        sh("kubectl get --raw /api/v1/namespaces/fake-hub/services/fake-hub:8000/proxy/__seen")
    )
    return seen


def audit_log() -> Sequence[dict[str, Any]]:
    """The operator's writes to the API server until now, its Lease aside, oldest first."""
    lines = sh("e2e/cluster/cluster audit").rpartition("\n")[0].splitlines()  # the last one may be in the writing
    events = [json.loads(line) for line in lines]
    return [event for event in events if event["objectRef"]["resource"] != "leases"]
