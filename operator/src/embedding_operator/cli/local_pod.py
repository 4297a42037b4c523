"""A planned pod as processes of this machine: volumes are directories, containers run in the kubelet's order.

`status()` is what a kubelet would report of it, so that the planner reads both alike.
"""

import socket
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any

from embedding_operator.cli.processes import ContainerProcess, directories_of
from embedding_operator.constants import INITIALIZER, SERVER
from embedding_operator.core.downloads import Download
from embedding_operator.errors import CannotRunLocally
from embedding_runtime.contract import PROGRESS_PATH, PROGRESS_PORT_VARIABLE, DownloadProgress, ServeArgs

__all__ = ["Address", "LocalPod"]


@dataclass(frozen=True)
class Address:
    """Where a server listens instead of on its pod's own address."""

    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"


class LocalPod:
    """One pod. `advance()` is called again and again; it never waits."""

    def __init__(
        self, spec: Mapping[str, Any], root: Path, secrets: Mapping[str, Mapping[str, str]], address: Address
    ) -> None:
        """Plans the processes; starts none. Raises CannotRunLocally."""
        _is_free(address)
        self.address = address
        self._stop_seconds: int = spec["terminationGracePeriodSeconds"]
        directories = directories_of(spec.get("volumes", []), root, secrets)
        initializer = next(each for each in spec["initContainers"] if each["name"] == INITIALIZER)
        server = next(each for each in spec["containers"] if each["name"] == SERVER)
        self._initializer = ContainerProcess.of(initializer, "embedding_runtime.storage", directories, secrets)
        self._progress_port = _a_free_port()
        self._initializer.env[PROGRESS_PORT_VARIABLE] = str(self._progress_port)
        self._server = ContainerProcess.of(server, "embedding_runtime", directories, secrets)
        flags = ServeArgs.from_argv(self._server.args[1:])
        here = flags.model_copy(update={"host": address.host, "http_port": address.port})
        self._server.args = [self._server.args[0], *here.to_argv()]
        self.ready = False
        self._changed_at = _now()

    @property
    def ended(self) -> bool:
        """No process runs, and none will."""
        return self._initializer.exit_code not in (None, 0) or self._server.exit_code is not None

    def advance(self) -> None:
        """Start what is next in order; notice what became ready."""
        if not self._initializer.started:
            self._initializer.start()
        elif self._initializer.exit_code == 0 and not self._server.started:
            self._server.start()
        is_ready = self._server.running and _get(f"{self.address}/readyz") is not None
        if is_ready != self.ready:
            self.ready, self._changed_at = is_ready, _now()

    @property
    def download(self) -> Download | None:
        """How far the initializer is. None: it does not run, or has not begun."""
        body = _get(f"http://127.0.0.1:{self._progress_port}{PROGRESS_PATH}") if self._initializer.running else None
        progress = DownloadProgress.from_body(body) if body is not None else None
        return Download(progress) if progress is not None else None

    def stop(self) -> None:
        """End its processes as a kubelet does: SIGTERM, and SIGKILL after the grace period."""
        for process in (self._server, self._initializer):
            process.stop(self._stop_seconds)

    def status(self) -> dict[str, Any]:
        """The `status` of a Pod."""
        phase = "Running" if self._server.started else "Pending"  # a kubelet would restart what ended
        return {
            "phase": phase,
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": str(self.ready), "lastTransitionTime": self._changed_at},
            ],
            "initContainerStatuses": [self._initializer.status(ready=self._initializer.exit_code == 0)],
            "containerStatuses": [self._server.status(ready=self.ready)],
        }


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _is_free(address: Address) -> None:
    """Before anything starts: else another server on that port would be taken for ours."""
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    try:
        socket.create_server((address.host, address.port), family=family).close()
    except (OSError, OverflowError) as error:
        where = f"{address.host}:{address.port}"
        raise CannotRunLocally(f"cannot listen on {where} ({error}): choose another with --port") from error


def _a_free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def _get(url: str) -> bytes | None:
    """The body of a 200 response of a process of ours; None: there is none."""
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 our own http:// address
            body: bytes = response.read()
            return body if response.status == HTTPStatus.OK else None
    except (urllib.error.URLError, OSError):
        return None
