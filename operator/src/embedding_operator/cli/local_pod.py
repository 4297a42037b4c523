"""A planned pod as processes of this machine: volumes are directories, containers run in the kubelet's order.

`status()` is what a kubelet would report of it, so that the planner reads both alike.
"""

import os
import socket
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Any

from embedding_operator.constants import INITIALIZER, SERVER
from embedding_operator.errors import CannotRunLocally
from embedding_runtime.contract import ServeArgs

__all__ = ["Address", "LocalPod"]

_LOG_TAIL = 20  # lines, as a termination message that falls back to the log
_NOT_INHERITED = {"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"}  # a process has them where the plan says so


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
        self._directories = _directories(spec.get("volumes", []), root, secrets)
        initializer = next(each for each in spec["initContainers"] if each["name"] == INITIALIZER)
        server = next(each for each in spec["containers"] if each["name"] == SERVER)
        self._initializer = self._process(initializer, "embedding_runtime.storage", secrets)
        self._server = self._process(server, "embedding_runtime", secrets)
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
        is_ready = self._server.running and _answers(f"{self.address}/readyz")
        if is_ready != self.ready:
            self.ready, self._changed_at = is_ready, _now()

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

    def _process(
        self, container: Mapping[str, Any], module: str, secrets: Mapping[str, Mapping[str, str]]
    ) -> "_Process":
        mounts = {
            PurePosixPath(mount["mountPath"]): self._directories[mount["name"]]
            for mount in container.get("volumeMounts", [])
            if mount["name"] in self._directories
        }
        secret = _NOT_INHERITED | {key for values in secrets.values() for key in values}
        inherited = {name: value for name, value in os.environ.items() if name not in secret}
        planned = {
            each["name"]: _translate(value, mounts)
            for each in container.get("env", [])
            if (value := _value(each, secrets)) is not None
        }
        args = [_translate(arg, mounts) for arg in container.get("args", [])]
        return _Process(container["name"], module, args, inherited | planned)


class _Process:
    """One container: its output goes to stderr line by line, under its name; the last lines are kept."""

    def __init__(self, name: str, module: str, args: Sequence[str], env: Mapping[str, str]) -> None:
        self.args = list(args)
        self._name, self._module, self._env = name, module, env
        self._tail: deque[str] = deque(maxlen=_LOG_TAIL)
        self._popen: subprocess.Popen[str] | None = None
        self._echo: threading.Thread | None = None

    @property
    def started(self) -> bool:
        return self._popen is not None

    @property
    def exit_code(self) -> int | None:
        return None if self._popen is None else self._popen.poll()

    @property
    def running(self) -> bool:
        return self.started and self.exit_code is None

    def start(self) -> None:
        self._popen = subprocess.Popen(  # noqa: S603 our own interpreter and modules
            [sys.executable, "-m", self._module, *self.args],
            env=dict(self._env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C is for us: we stop it in order
        )
        self._echo = threading.Thread(target=self._copy_output, args=(self._popen.stdout,), daemon=True)
        self._echo.start()

    def stop(self, seconds: float) -> None:
        if self._popen is None:
            return
        self._popen.terminate()
        try:
            self._popen.wait(seconds)
        except subprocess.TimeoutExpired:
            self._popen.kill()
            self._popen.wait()

    def status(self, *, ready: bool) -> dict[str, Any]:
        """One of a Pod's containerStatuses."""
        if self.exit_code is not None:
            if self._echo is not None:
                self._echo.join()  # its last words are the verdict
            reason = "Error" if self.exit_code else "Completed"
            message = "\n".join(self._tail) if self.exit_code else ""
            state = {"terminated": {"exitCode": self.exit_code, "reason": reason, "message": message}}
        elif self.started:
            state = {"running": {}}
        else:
            state = {"waiting": {"reason": "PodInitializing"}}
        return {"name": self._name, "ready": ready, "started": self.running, "restartCount": 0, "state": state}

    def _copy_output(self, output: Any) -> None:
        for line in output:
            self._tail.append(line.rstrip())
            print(f"{self._name} | {line}", end="", file=sys.stderr, flush=True)


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


def _directories(
    volumes: Sequence[Mapping[str, Any]], root: Path, secrets: Mapping[str, Mapping[str, str]]
) -> dict[str, Path]:
    """A new directory for every emptyDir on disk, and for every Secret, with its files; one in memory (/dev/shm) is
    this machine's own.
    """
    directories = {}
    for volume in volumes:
        if "persistentVolumeClaim" in volume:
            claim = volume["persistentVolumeClaim"]["claimName"]
            raise CannotRunLocally(f"pvc://{claim}/... needs a cluster: write file:///path for one of this machine")
        if volume.get("emptyDir", {}).get("medium") != "Memory":
            directories[volume["name"]] = root / volume["name"]
            directories[volume["name"]].mkdir(parents=True)
        for item in volume.get("secret", {}).get("items", []):
            text = secrets[volume["secret"]["secretName"]][item["key"]]
            (directories[volume["name"]] / item["path"]).write_text(text)
    return directories


def _translate(text: str, mounts: Mapping[PurePosixPath, Path]) -> str:
    """A path below a mount, alone or as a flag's value, as the path it has here."""
    flag, equals, value = text.rpartition("=") if text.startswith("--") else ("", "", text)
    path = PurePosixPath(value)
    for mounted, directory in mounts.items():
        if path.is_absolute() and path.is_relative_to(mounted):
            return f"{flag}{equals}{directory / path.relative_to(mounted)}"
    return text


def _value(variable: Mapping[str, Any], secrets: Mapping[str, Mapping[str, str]]) -> str | None:
    """An environment variable's value; None for one that only a node knows (resourceFieldRef) or that is optional."""
    if "secretKeyRef" in variable.get("valueFrom", {}):
        ref = variable["valueFrom"]["secretKeyRef"]
        return secrets.get(ref["name"], {}).get(ref["key"])
    value: str | None = variable.get("value")
    return value


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=1) as response:  # noqa: S310 our own http:// address
            return bool(response.status == 200)  # noqa: PLR2004
    except (urllib.error.URLError, OSError):
        return False
