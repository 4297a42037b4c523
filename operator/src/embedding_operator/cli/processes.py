"""Planned containers as processes of this machine, with directories in the place of volumes."""

import os
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, Self

from embedding_operator.errors import CannotRunLocally

__all__ = ["CLEAR_LINE", "ContainerProcess", "directories_of"]

CLEAR_LINE = "\r\033[K"
"""What a terminal understands: back to the beginning of the line, and empty it."""

_STOP_SECONDS = 30
_LOG_TAIL = 20  # lines, as a termination message that falls back to the log
_NOT_INHERITED = {"HF_TOKEN", "HF_TOKEN_PATH", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE"}
"""A process has them where the plan says so."""


class ContainerProcess:
    """One container: its output goes to stderr line by line, under its name; the last lines are kept."""

    def __init__(self, name: str, module: str, args: Sequence[str], env: Mapping[str, str]) -> None:
        self.args, self.env = list(args), dict(env)
        self._name, self._module = name, module
        self._tail: deque[str] = deque(maxlen=_LOG_TAIL)
        self._popen: subprocess.Popen[str] | None = None
        self._echo: threading.Thread | None = None

    @classmethod
    def of(
        cls,
        container: Mapping[str, Any],
        module: str,
        directories: Mapping[str, Path],
        secrets: Mapping[str, Mapping[str, str]],
    ) -> Self:
        """A planned container. `module` is what its image runs; `directories` are those of its volumes, by name."""
        mounts = {
            PurePosixPath(mount["mountPath"]): directories[mount["name"]]
            for mount in container.get("volumeMounts", [])
            if mount["name"] in directories
        }
        secret = _NOT_INHERITED | {key for values in secrets.values() for key in values}
        inherited = {name: value for name, value in os.environ.items() if name not in secret}
        planned = {
            each["name"]: _translate(value, mounts)
            for each in container.get("env", [])
            if (value := _value(each, secrets)) is not None
        }
        args = [_translate(arg, mounts) for arg in container.get("args", [])]
        return cls(container["name"], module, args, inherited | planned)

    @property
    def started(self) -> bool:
        """It runs, or has ended."""
        return self._popen is not None

    @property
    def exit_code(self) -> int | None:
        """None: it has not ended."""
        return None if self._popen is None else self._popen.poll()

    @property
    def running(self) -> bool:
        """It has not ended."""
        return self.started and self.exit_code is None

    def start(self) -> None:
        """Does not wait."""
        self._popen = subprocess.Popen(  # noqa: S603 our own interpreter and modules
            [sys.executable, "-m", self._module, *self.args],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,  # a Ctrl-C is for us: we stop it in order
        )
        self._echo = threading.Thread(target=self._copy_output, args=(self._popen.stdout,), daemon=True)
        self._echo.start()

    def run(self) -> int:
        """Start it, and wait for its end. Returns the exit code."""
        self.start()
        assert self._popen is not None  # noqa: S101 for the type checker
        try:
            return self._popen.wait()
        finally:  # also for Ctrl-C
            self.stop(_STOP_SECONDS)

    def stop(self, seconds: float) -> None:
        """SIGTERM, and SIGKILL after so many seconds."""
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
        clear = CLEAR_LINE if sys.stderr.isatty() else ""  # of a progress bar
        with output:
            for line in output:
                self._tail.append(line.rstrip())
                print(f"{clear}{self._name} | {line}", end="", file=sys.stderr, flush=True)


def directories_of(
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
