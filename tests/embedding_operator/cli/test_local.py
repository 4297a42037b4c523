"""`embedding-operator local`, from outside: the real command, the real initializer and server, the fake backend."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from support.builders import a_service
from support.fake_hub import MINILM, FakeHub, packaged_minilm
from support.modelcar import pushed
from support.ports import a_free_port

FAKE = ["--backend=fake", "--task=embed"]


def written(directory: Path, *objects: Mapping[str, Any]) -> Path:
    file = directory / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return file


class Local:
    """The command under way; its output line by line, as a person sees it."""

    def __init__(self, file: Path, port: int, env: Mapping[str, str]) -> None:
        self.port = port
        self._popen = subprocess.Popen(
            [sys.executable, "-m", "embedding_operator", "local", "-f", str(file), "--port", str(port)],
            env={**os.environ, "TMPDIR": str(file.parent), **env},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._late = threading.Timer(300, self._popen.kill)
        self._late.start()
        self.output = ""

    def wait_for(self, pattern: str) -> None:
        assert self._popen.stdout
        while not re.search(pattern, self.output):
            line = self._popen.stdout.readline()
            assert line, f"ended, without {pattern!r}:\n{self.output}"
            self.output += line

    def end(self) -> int:
        self.output += self._popen.communicate()[0]
        self._late.cancel()
        return self._popen.returncode

    def stop(self, how: signal.Signals = signal.SIGINT) -> int:
        self._popen.send_signal(how)
        return self.end()

    @property
    def returncode(self) -> int | None:
        return self._popen.poll()

    def children(self) -> list[int]:
        return [
            int(pid) for pid in Path(f"/proc/{self._popen.pid}/task/{self._popen.pid}/children").read_text().split()
        ]


@contextmanager
def local(tmp_path: Path, *objects: Mapping[str, Any], **env: str) -> Iterator[Local]:
    command = Local(written(tmp_path, *objects), a_free_port(), env)
    try:
        yield command
    finally:
        if command.returncode is None:
            command.stop(signal.SIGTERM)


def a_local_service(
    name: str = "embedding-model", uri: str = f"file://{packaged_minilm()}", **model: Any
) -> dict[str, Any]:
    return dict(a_service(name=name, model={"storageUri": uri, **model}, args=FAKE))


def asked(port: int, model: str, **headers: str) -> Any:
    body = json.dumps({"model": model, "input": "a text"}).encode()
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/openai/v1/embeddings", body, {"Content-Type": "application/json", **headers}
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def test_a_service_is_fetched_served_and_shown_as_kubectl_would(tmp_path: Path) -> None:
    with local(tmp_path, a_local_service()) as command:
        command.wait_for(r"embedding-model +http://127\.0\.0\.1:\d+ +True +Ready +fake +embedding-model")
        assert re.search(r"^NAME +URL +READY +REASON +BACKEND +MODEL +AGE +DOWNLOAD%$", command.output, re.MULTILINE)
        assert asked(command.port, "embedding-model")["model"] == "embedding-model"
        assert command.stop() == 0
    assert [path.name for path in tmp_path.iterdir()] == ["manifests.yaml"], "a stop leaves nothing behind"


def test_an_image_that_a_node_would_mount_is_downloaded(tmp_path: Path) -> None:
    with pushed(packaged_minilm()) as uri, local(tmp_path, a_local_service(uri=uri, imageVolume=True)) as command:
        command.wait_for("embedding-model +[^ ]+ +True")
        assert command.stop() == 0


def test_several_services_listen_on_ports_one_after_the_other(tmp_path: Path) -> None:
    with local(tmp_path, a_local_service("one"), a_local_service("two")) as command:
        command.wait_for(rf"(?s)one +http://127\.0\.0\.1:{command.port} +True.*?\ntwo +\S+:{command.port + 1} +True")
        assert asked(command.port, "one")["model"] == "one"
        assert asked(command.port + 1, "two")["model"] == "two"
        assert command.stop(signal.SIGTERM) == 0


def test_a_token_from_a_secret_in_the_files_reaches_the_initializer_and_never_the_server(tmp_path: Path) -> None:
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hf"},
        "stringData": {"HF_TOKEN": "hf_made_up"},
    }
    service = a_local_service(uri=f"hf://{MINILM}", tokenSecretRef={"name": "hf"})
    with (
        FakeHub({MINILM: packaged_minilm()}, token="hf_made_up") as hub,
        local(
            tmp_path, secret, service, HF_ENDPOINT=hub.url, HF_TOKEN="hf_of_the_shell", HF_TOKEN_PATH="/of/the/shell"
        ) as command,
    ):
        command.wait_for("embedding-model +[^ ]+ +True")
        (server,) = command.children()
        assert b"hf_" not in Path(f"/proc/{server}/environ").read_bytes()
        assert command.stop() == 0
        assert "hf_made_up" not in command.output


def test_api_keys_from_a_secret_in_the_files_are_asked_for_and_kept_in_a_file(tmp_path: Path) -> None:
    keys = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "who"},
        "stringData": {"KEYS": "me sk-made-up-long-enough"},
    }
    service = a_local_service()
    service["spec"]["auth"] = {"apiKeysSecretRef": {"name": "who", "key": "KEYS"}}
    with local(tmp_path, keys, service, KEYS="of the shell") as command:
        command.wait_for("embedding-model +[^ ]+ +True")
        with pytest.raises(urllib.error.HTTPError, match="401"):
            asked(command.port, "embedding-model")
        assert asked(command.port, "embedding-model", Authorization="Bearer sk-made-up-long-enough")["data"]
        (server,) = command.children()
        process = Path(f"/proc/{server}")
        seen = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        assert [word for word in (b"sk-made-up-long-enough", b"of the shell") if word in seen] == []
        assert command.stop() == 0
        assert "sk-made-up-long-enough" not in command.output
    assert [path.name for path in tmp_path.iterdir()] == ["manifests.yaml"], "a stop leaves no key behind"


def test_a_service_of_several_replicas_is_ready_with_the_one_that_runs_here(tmp_path: Path) -> None:
    with local(tmp_path, a_local_service() | {"spec": a_local_service()["spec"] | {"replicas": 3}}) as command:
        command.wait_for("embedding-model +[^ ]+ +True")
        assert command.stop() == 0


def test_a_port_that_is_taken_is_refused_before_anything_starts(tmp_path: Path) -> None:
    with local(tmp_path, a_local_service()) as first:
        first.wait_for("embedding-model +[^ ]+ +True")
        second = Local(written(tmp_path, a_local_service()), first.port, {})
        assert second.end() == 1
        assert f"cannot listen on 127.0.0.1:{first.port}" in second.output
        assert "--port" in second.output
        assert "storage-initializer |" not in second.output
        assert first.stop() == 0


def test_a_model_that_is_not_there_ends_the_command_with_the_reason_a_cluster_would_show(tmp_path: Path) -> None:
    with (
        FakeHub({}) as hub,
        local(tmp_path, a_local_service(uri="hf://no/such"), HF_ENDPOINT=hub.url) as command,
    ):
        assert command.end() == 1
    assert re.search(r"embedding-model +\S+ +False +ModelNotFound", command.output)


def test_a_server_that_dies_ends_the_command(tmp_path: Path) -> None:
    with local(tmp_path, a_local_service()) as command:
        command.wait_for("embedding-model +[^ ]+ +True")
        (server,) = command.children()
        os.kill(server, signal.SIGKILL)
        assert command.end() == 1
    assert "RuntimeFailed" in command.output


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (a_service(args=["--task=text_embedding"], backend="vllm"), "--task=embed"),
        (a_service(model={"storageUri": "pvc://models/minilm"}), "pvc://models/... needs a cluster"),
        (a_service(model={"tokenSecretRef": {"name": "hf-secret"}}), "put it into a file given with -f"),
        ({name: value for name, value in a_service().items() if name != "spec"}, "spec is missing"),
    ],
    ids=["wrong task", "a claim", "no secret", "no spec"],
)
def test_what_cannot_be_run_is_refused_before_anything_starts(
    tmp_path: Path, service: Mapping[str, Any], words: str
) -> None:
    with local(tmp_path, service, a_local_service("other")) as command:
        assert command.end() == 1
    assert words in command.output
    assert "storage-initializer |" not in command.output
