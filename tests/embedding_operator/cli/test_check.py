"""`embedding-operator check`: the service's own download, flags and memory around the runtime's check."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from embedding_operator.__main__ import main
from embedding_operator.cli import check
from embedding_runtime.contract import ServeArgs
from support.builders import a_service, a_storage_container
from support.fake_hub import MINILM, FakeHub, packaged_minilm

LOCAL = {"storageUri": f"file://{packaged_minilm()}"}
SERVED = {"served": True, "backend": "huggingface", "memory_bytes": 1200 << 20}


def written(directory: Path, *objects: Mapping[str, Any]) -> str:
    file = directory / "manifests.yaml"
    file.write_text(yaml.safe_dump_all(objects))
    return str(file)


class Runtime:
    """In the place of the runtime's check; keeps what it was asked."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, found: Mapping[str, Any] = SERVED) -> None:
        self.asked: list[tuple[list[str], ServeArgs]] = []

        def run(_pod: object, directory: Path, serve: ServeArgs) -> dict[str, Any]:
            files = sorted(path.name for path in directory.iterdir()) if directory.is_dir() else []
            self.asked.append((files, serve))
            return dict(found)

        monkeypatch.setattr(check._Pod, "check", run)


def answers(capsys: pytest.CaptureFixture[str], *flags: str) -> list[dict[str, Any]]:
    code = main(["check", *flags, "-o", "json"])
    found: list[dict[str, Any]] = json.loads(capsys.readouterr().out)
    assert code == (0 if all(each["served"] for each in found) else 1)
    return found


def run(tmp_path: Path, model: Path, **spec: Any) -> dict[str, Any]:
    """The real command, for a private model of a hub."""
    token = {"HF_TOKEN": "hf_made_up"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "hf"}, "stringData": token}
    service = a_service(model={"storageUri": f"hf://{MINILM}", "tokenSecretRef": {"name": "hf"}}, **spec)
    with FakeHub({MINILM: model}, token="hf_made_up") as hub:
        command = ["-m", "embedding_operator", "check", "-o", "json", "-f", written(tmp_path, secret, service)]
        before = set(tmp_path.iterdir())
        environ = {**os.environ, "HF_ENDPOINT": hub.url, "TMPDIR": str(tmp_path)}
        done = subprocess.run([sys.executable, *command], env=environ, capture_output=True, text=True, check=False)
    found: dict[str, Any]
    (found,) = json.loads(done.stdout)
    assert done.returncode == (0 if found["served"] else 1)
    assert set(tmp_path.iterdir()) == before, "nothing is left behind"
    return found


@pytest.mark.slow
def test_a_model_is_downloaded_loaded_measured_and_compared(tmp_path: Path) -> None:
    tiny = pytest.importorskip("support.tiny_models")
    bert = tiny.saved(tmp_path / "bert", tiny.a_transformer(tmp_path / "plain", tiny.SHAPES["bert"]))
    found = run(tmp_path, bert, backend="huggingface", resources={"limits": {"memory": "512Mi"}})
    assert found["served"]
    assert found["lowest_cosine"] > 0.9999
    assert "spec.resources.limits.memory is 512Mi, but the server takes about" in found["memory_advice"]


def test_the_runtime_says_why_it_refuses_a_downloaded_model(tmp_path: Path) -> None:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("no JSON")
    found = run(tmp_path, model)
    assert not found["served"]
    assert "config.json cannot be read" in found["why_not"]


def test_the_runtime_gets_the_flags_that_the_operator_makes_of_the_spec(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = Runtime(monkeypatch)
    service = a_service(model={**LOCAL, "truncate": "end"}, backend="huggingface", args=["--quantize=int8"])
    assert answers(capsys, "-f", written(tmp_path, service))[0]["served"]
    ((files, serve),) = runtime.asked
    assert "config.json" in files
    assert (serve.model_name, serve.backend, serve.truncate, serve.quantize) == (
        "embedding-model",
        "huggingface",
        "end",
        "int8",
    )


def test_a_directory_is_checked_as_it_is_whatever_downloads_the_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime = Runtime(monkeypatch)
    directory = tmp_path / "model"
    directory.mkdir()
    (directory / "config.json").touch()
    s3 = a_storage_container("s3", prefixes=["s3://"], container={"image": "fetcher:1"})
    image = {"storageUri": f"oci://registry.example/model@sha256:{'a' * 64}", "imageVolume": True}
    models: list[dict[str, Any]] = [
        {"storageUri": uri} for uri in ("s3://bucket/model", "pvc://models/minilm", "hf://no/such")
    ]
    for model in (*models, image):
        file = written(tmp_path, s3, a_service(model=model))
        assert answers(capsys, "-f", file, "--model-dir", str(directory))[0]["served"]
    assert [files for files, _ in runtime.asked] == [["config.json"]] * 4


@pytest.mark.parametrize(
    ("service", "words"),
    [
        (a_service(args=["--nonsense=1"], backend="tensorflow"), "spec.backend"),
        (a_service(model={"storageUri": "pvc://models/minilm"}), "give the model's directory with --model-dir"),
        (a_service(model={"storageUri": "s3://bucket/model"}), "ClusterStorageContainer s3, which runs in a cluster"),
        (a_service(model={"storageUri": "file:///no/such/model"}), "ModelNotFound: file:///no/such/model"),
    ],
    ids=["an invalid spec", "a claim", "another initializer", "no such model"],
)
def test_why_a_service_cannot_be_served_is_told_and_the_others_are_checked(
    service: Mapping[str, Any],
    words: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Runtime(monkeypatch)
    s3 = a_storage_container("s3", prefixes=["s3://"], container={"image": "fetcher:1"})
    file = written(tmp_path, s3, service, a_service(name="other", model=LOCAL))
    refused, other = answers(capsys, "-f", file)
    assert not refused["served"]
    assert words in refused["why_not"]
    assert other["served"]


def test_a_model_that_the_runtime_refuses_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Runtime(monkeypatch, {"served": False, "why_not": "no such pooling"})
    assert answers(capsys, "-f", written(tmp_path, a_service(model=LOCAL))) == [
        {"service": "embedding-model", "served": False, "why_not": "no such pooling"}
    ]


@pytest.mark.parametrize(
    ("resources", "advice"),
    [
        ({"limits": {"memory": "2Gi"}}, ""),
        ({"limits": {"memory": "2Gi"}, "requests": {"memory": "1200Mi"}}, ""),
        ({"limits": {"memory": "1Gi"}}, "limits.memory is 1Gi, but the server takes about 1200Mi"),
        ({"limits": {"memory": "2Gi"}, "requests": {"memory": "1Gi"}}, "requests.memory is 1Gi, but the server takes"),
        ({"limits": {"cpu": "1"}}, "requests.memory is not set, but the server takes about 1200Mi"),
        ({}, "Set spec.resources.requests.memory to 1216Mi."),
    ],
)
def test_the_limit_and_the_request_are_compared_with_the_estimate(
    resources: Mapping[str, Any],
    advice: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    Runtime(monkeypatch)
    (found,) = answers(capsys, "-f", written(tmp_path, a_service(model=LOCAL, resources=resources)))
    assert found["served"]
    assert found["memory_fits"] == (not advice)
    assert advice in (found["memory_advice"] or "")


def test_memory_on_cpus_is_not_compared_with_the_limit_of_a_service_on_gpus(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Runtime(monkeypatch)
    resources = {"limits": {"memory": "1Gi", "nvidia.com/gpu": "1"}}
    (found,) = answers(capsys, "-f", written(tmp_path, a_service(model=LOCAL, resources=resources)))
    assert "memory_fits" not in found
    assert "the service asks for nvidia.com/gpu" in found["memory_advice"]


def test_the_table_has_a_line_for_each_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    Runtime(monkeypatch)
    services = [a_service(name=name, model=LOCAL, resources={"limits": {"memory": "2Gi"}}) for name in ("one", "two")]
    assert main(["check", "-f", written(tmp_path, *services)]) == 0
    first, second = capsys.readouterr().out.split("\n\n")
    assert [line.split(maxsplit=1)[0] for line in (first.splitlines()[0], second.splitlines()[0])] == ["service"] * 2
    assert first.splitlines()[1:] == [
        "served              yes",
        "backend             huggingface",
        "memory bytes        1,200 MiB, with one worker and a full batch",
        "memory limit        2Gi",
        "memory fits         yes",
    ]


def test_a_directory_is_for_one_service(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = written(tmp_path, a_service(name="one"), a_service(name="two"))
    assert main(["check", "-f", file, "--model-dir", str(tmp_path)]) == 1
    assert "--model-dir is for one service, and the files have 2" in capsys.readouterr().err


def test_its_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["check", "--help"])
    assert "embedding-operator check -f service.yaml --model-dir ./all-MiniLM-L6-v2" in capsys.readouterr().out
