"""`embedding-operator local`: the planned pod of each service as processes of this machine; no cluster, no Docker.

It replaces only the kubelet: manifests are read, checked and planned by the same code as on a cluster, and the state of
the processes is passed to the planner as a pod's status, so that the table is what `kubectl get` would print.
Ignored here: images, resources and replicas (one server a service, with all of this machine), and imageVolume.
"""

import os
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from embedding_operator.cli.local_pod import Address, LocalPod
from embedding_operator.cli.manifests import Manifests, read, without_image_volume
from embedding_operator.cli.processes import CLEAR_LINE
from embedding_operator.cli.table import table
from embedding_operator.core.downloads import Download
from embedding_operator.core.plan import Create, plan_service
from embedding_operator.core.pods import pod_of
from embedding_operator.core.reasons import Reason
from embedding_operator.core.snapshot import Snapshot
from embedding_operator.errors import BadManifests, CannotRunLocally
from embedding_operator.resources.crd import columns
from embedding_operator.settings import Policy, Settings

__all__ = ["main"]

_TICK = 0.2  # seconds between two looks at the processes
_BAR = 30  # characters

_Object = dict[str, Any]


def main(
    files: Sequence[Path],
    host: str = "127.0.0.1",
    port: int = 8080,
    when_ready: Callable[[Mapping[str, Any]], None] = lambda _service: None,
) -> int:
    """Serve until Ctrl-C: the first service on `port`, the next on the one after it.

    `when_ready` is called once with each service that becomes ready, as the API would show it. Returns the exit code: 0
    after a stop that was asked for, 1 when something is wrong or a server ended by itself.
    """
    stop = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())
    with ExitStack() as stack:
        root = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embedding-operator-")))
        try:
            manifests = read(files)
            services = [
                _LocalService(raw, manifests, root / raw["metadata"]["name"], Address(host, port + number))
                for number, raw in enumerate(manifests.services)
            ]
        except (BadManifests, CannotRunLocally) as error:
            print(error, file=sys.stderr)
            return 1
        for service in services:
            stack.callback(service.pod.stop)
        return _serve(services, stop, when_ready)


class _LocalService:
    """One service, its pod, and as much of a cluster as the planner asks for."""

    def __init__(self, raw: Mapping[str, Any], manifests: Manifests, root: Path, address: Address) -> None:
        """Plans the pod; starts nothing. Raises CannotRunLocally, also for what a cluster would refuse."""
        birth = {"uid": "local", "generation": 1, "creationTimestamp": _now().isoformat()}
        self._raw: _Object = {**without_image_volume(raw), "metadata": {**raw["metadata"], **birth}}
        self._storage_containers = manifests.storage_reads
        self._settings = Settings(hf_endpoint=os.environ.get("HF_ENDPOINT"), policy=Policy.unrestricted())
        self._secrets = manifests.secret_values(self._raw)
        self._objects: dict[str, _Object] = {}
        if isinstance(spec := self._raw.get("spec"), Mapping):
            self._raw["spec"] = {**spec, "replicas": 1}  # as many as there are here
        self._plan()
        if "Deployment" not in self._objects:
            hint = " (here: put it into a file given with -f, or into a variable named like the key)"
            waits = hint if self.ready["reason"] == Reason.SECRET_NOT_FOUND else ""
            raise CannotRunLocally(f"{manifests.place(raw)}: {self.ready['message']}{waits}")
        self._template = self._objects["Deployment"]["spec"]["template"]
        self.pod = LocalPod(self._template["spec"], root, self._secrets, address)

    @property
    def as_shown(self) -> _Object:
        """The service with its status, as the API would show it; its URL is the one it has here."""
        url = str(self.pod.address)
        return {**self._raw, "status": {**self._raw["status"], "url": url, "address": {"url": url}}}

    @property
    def ready(self) -> Mapping[str, Any]:
        """Its Ready condition."""
        conditions: list[_Object] = self._raw["status"]["conditions"]
        return next(each for each in conditions if each["type"] == "Ready")

    def advance(self) -> bool:
        """Let the pod go on, and write the status; whether that changed."""
        self.pod.advance()
        return self._plan({"metadata": self._pod_metadata(), "status": self.pod.status()})

    def _pod_metadata(self) -> _Object:
        """As if a ReplicaSet had made it."""
        deployment, metadata = self._objects["Deployment"]["metadata"], self._template["metadata"]
        return {
            **metadata,
            "name": deployment["name"],
            "uid": "local",
            "creationTimestamp": deployment["creationTimestamp"],
            "labels": {**metadata["labels"], "pod-template-hash": "local"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": f"{deployment['name']}-local", "controller": True}],
        }

    def _plan(self, *pods: _Object) -> bool:
        """One reconcile, with this object in the place of a cluster."""
        read_pods = (pod_of(each, [self._objects["Deployment"]]) for each in pods)
        snapshot = Snapshot(
            self._raw,
            children=tuple(self._objects.values()),
            pods=tuple(pod for pod in read_pods if pod is not None),
            storage_containers=self._storage_containers,
            secrets={name: frozenset(data) if data else None for name, data in self._secrets.items()},
            runs_jobs=False,
        )
        plan = plan_service(snapshot, self._settings, _now())
        for write in plan.writes:
            if isinstance(write, Create):
                given = {"uid": "local", "creationTimestamp": _now().isoformat(), "generation": 1}
                created = {**write.object, "metadata": {**write.object["metadata"], **given}}
                self._objects[created["kind"]] = {**created, "status": {"observedGeneration": 1}}
        if plan.status is None:
            return False
        self._raw["status"] = plan.status
        return True


def _serve(
    services: Sequence[_LocalService], stop: threading.Event, when_ready: Callable[[Mapping[str, Any]], None]
) -> int:
    announced: set[int] = set()
    print("local | one process a service: images, resources and replicas are for a cluster", file=sys.stderr)
    while not stop.wait(_TICK):
        ended = [service for service in services if service.pod.ended]  # before the status is written: it tells why
        changed = [service.advance() for service in services]
        _draw_bar(services)
        if any(changed):
            sys.stderr.write(CLEAR_LINE if sys.stderr.isatty() else "")
            print(table([service.as_shown for service in services], columns("EmbeddingService"), _now()), flush=True)
        for service in services:
            if service.ready["status"] == "True" and service.pod.address.port not in announced:
                announced.add(service.pod.address.port)
                when_ready(service.as_shown)
        if ended:
            for service in ended:
                print(f"{service.as_shown['metadata']['name']}: {service.ready['message']}", file=sys.stderr)
            return 1
    print("local | stopping", file=sys.stderr)
    return 0


def _draw_bar(services: Sequence[_LocalService]) -> None:
    """How far the downloads are, in the last line of a terminal; the next output takes its place."""
    if not sys.stderr.isatty():
        return
    bars = [_bar(download) for service in services if (download := service.pod.download) is not None]
    sys.stderr.write(f"{CLEAR_LINE}{'   '.join(bars)}\r" if bars else "")
    sys.stderr.flush()


def _bar(download: Download) -> str:
    filled = _BAR * (download.percent or 0) // 100
    return f"{'━' * filled}{'─' * (_BAR - filled)} {download}"


def _now() -> datetime:
    return datetime.now(UTC)
