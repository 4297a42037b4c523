"""Runs the initializer as a pod does, and creates the directories that it reads."""

import io
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from embedding_runtime.contract import MODEL_NOTE
from embedding_runtime.storage.errors import NoModel
from embedding_runtime.storage.fetch import fetch
from embedding_runtime.storage.log import Log, secrets_in
from embedding_runtime.storage.retries import Retries
from support.fake_hub import FakeHub

__all__ = [
    "A_POINTER",
    "MODEL",
    "Outcome",
    "a_model",
    "download",
    "files_of",
    "hub_environment",
    "initialize",
    "start_initializer",
]

MODEL: Mapping[str, bytes] = {
    "1_Pooling/config.json": b'{"pooling_mode_mean_tokens": true}',
    "config.json": b'{"model_type": "bert"}',
    "model.safetensors": bytes(range(256)) * 8000,  # large: 2 MB, so a hub lists its SHA-256
    "modules.json": b"[]",
    "tokenizer.json": b'{"version": "1.0"}',
}
"""The files of a model that no one could run: only bytes count here."""


A_POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize 90868376\n" % (b"53aa" * 16)
"""What a clone without Git LFS has in the place of a large file."""


_PYTHON = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}


@dataclass(frozen=True)
class Outcome:
    """What is left of a run: its exit code and what it said on stderr."""

    code: int
    log: str

    @property
    def last_line(self) -> str:
        return self.log.splitlines()[-1]


def a_model(directory: Path, files: Mapping[str, bytes] = MODEL) -> Path:
    """Writes these files into a directory. Returns it."""
    for name, content in files.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_bytes(content)
    return directory


def files_of(directory: Path) -> dict[str, bytes]:
    """All that is there, but the note that the initializer puts among a hub's files."""
    paths = [path for path in directory.rglob("*") if path.is_file() and path.name != MODEL_NOTE]
    return {path.relative_to(directory).as_posix(): path.read_bytes() for path in paths}


def hub_environment(hub: FakeHub, token: str | None = None) -> dict[str, str]:
    """What the operator puts into the initializer's environment."""
    return {"HF_ENDPOINT": hub.url} | ({"HF_TOKEN": token} if token else {})


def start_initializer(
    *arguments: object, environ: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> subprocess.Popen[str]:
    """The process, with nothing in its environment but `environ` and what Python needs to find the code under test."""
    return subprocess.Popen(
        [sys.executable, "-m", "embedding_runtime.storage", *map(str, arguments)],
        env={**_PYTHON, "HOME": "/nonexistent", **(environ or {})},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=before,  # noqa: PLW1509 the test process starts no other while this one forks
    )


def initialize(
    *arguments: object, environ: Mapping[str, str] | None = None, before: Callable[[], None] | None = None
) -> Outcome:
    """Runs it to its end."""
    with start_initializer(*arguments, environ=environ, before=before) as process:
        _, log = process.communicate(timeout=240)
    return Outcome(process.returncode, log)


def download(uri: str, into: Path, environ: Mapping[str, str]) -> Outcome:
    """Downloads in this process, without pauses between attempts: much faster than `initialize`."""
    stream = io.StringIO()
    log = Log(stream, secrets_in(environ, uri))
    try:
        fetch(uri, into, environ, log, Retries(log.say, lambda _: None))
    except NoModel as error:
        log.say(str(error.failed))
        return Outcome(1, stream.getvalue())
    return Outcome(0, stream.getvalue())
