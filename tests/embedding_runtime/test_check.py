"""`check`: whether a model can be served, how, and how exactly."""

import json
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from embedding_runtime import check as command
from embedding_runtime.check import check, compare
from embedding_runtime.contract import BackendName, report
from embedding_runtime.model import ModelSpec
from embedding_runtime.worker.backends.choice import Choice
from support.models import packaged_minilm

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
    pytest.mark.usefixtures("loggers_as_they_were"),
]

pytest.importorskip("torch")
tiny = pytest.importorskip("support.tiny_models")

HUGGINGFACE = "--backend=huggingface"
MINILM = ModelSpec.read(packaged_minilm())


def answers(capfd: pytest.CaptureFixture[str], *flags: object) -> Mapping[str, Any]:
    code = check([*map(str, flags), "-o", "json"])
    found: Mapping[str, Any] = json.loads(capfd.readouterr().out)
    assert code == (0 if found["served"] else 1)
    return found


def a_bert(directory: Path) -> Path:
    model: Path = tiny.saved(directory, tiny.a_transformer(directory / "plain", tiny.SHAPES["bert"]))
    return model


def test_a_model_is_compared_with_sentence_transformers_and_measured(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = answers(capfd, a_bert(tmp_path), HUGGINGFACE)
    assert found["served"]
    assert found["lowest_cosine"] > 0.99999
    assert found["kind"] == "embedding model"
    assert found["backend"] == "huggingface"
    assert found["tokens_per_second"] > 0
    assert found["memory_bytes"] > 1 << 28


@pytest.mark.parametrize(
    ("make", "kind", "key"),
    [
        (partial(tiny.a_cross_encoder, labels=1), "cross-encoder", "largest_difference"),
        (tiny.a_sparse_encoder, "sparse encoder", "lowest_cosine"),
    ],
)
def test_other_kinds_are_compared_with_their_classes(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], make: Any, kind: str, key: str
) -> None:
    found = answers(capfd, make(tmp_path / "model", tiny.SHAPES["bert"]), HUGGINGFACE)
    assert found["served"]
    assert found["kind"] == kind
    assert key in found


def test_missing_weights_are_named(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = a_bert(tmp_path)
    file = next(model.rglob("*.safetensors"))
    weights = load_file(file)
    name = next(name for name in weights if name.endswith("query.weight"))
    del weights[name]
    save_file(weights, file, metadata={"format": "pt"})
    found = answers(capfd, model, HUGGINGFACE)
    assert not found["served"]
    assert name in found["why_not"]


def test_a_directory_without_a_model_cannot_be_served(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    found = answers(capfd, tmp_path / "missing")
    assert found == {"served": False, "why_not": f"--model_dir={tmp_path / 'missing'} is not a directory"}


def test_the_working_directory_can_be_checked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "config.json" in answers(capfd, ".")["why_not"]


def test_an_invalid_flag_is_told(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert check([str(tmp_path), "--dtyp=float16"]) == 2
    assert "unknown flag --dtyp; did you mean --dtype?" in capfd.readouterr().err


def test_auto_falls_back_as_a_server_does(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    tried = {"detail": "d", "tokens_per_second": 1.0, "batch_tokens": 1, "peak_bytes": 1, "rows": {"0": [1.0]}}

    def run(args: object, what: str, environment: object) -> Mapping[str, Any]:
        del args, environment
        if what == "reference":
            return {"version": "1", "rows": [[1.0]]}
        return {"refused": "vLLM differs"} if json.loads(what)["choice"]["backend"] == "vllm" else tried

    monkeypatch.setattr(command, "_run", run)
    monkeypatch.setattr(command, "choose", lambda *_: Choice(BackendName.VLLM, "exact", falls_back=True))
    found = answers(capfd, packaged_minilm())
    assert (found["backend"], found["backend_reason"]) == ("huggingface", "vLLM differs")


def test_different_vectors_are_a_failure() -> None:
    reference = {"version": "6", "rows": [[1.0, 0.0], [0.0, 1.0]]}
    found = compare(MINILM, {"0": [1.0, 0.0], "1": [0.1, 1.0]}, reference)
    assert not found["exact"]
    assert found["lowest_cosine"] == pytest.approx(0.995, abs=1e-3)
    assert "differ" in found["why_not"]


def test_a_table_has_a_line_for_each_known_answer() -> None:
    shown = report({"served": True, "pooling": None, "assumed": [], "batch_tokens": 1024, "memory_bytes": 600 << 20})
    assert shown.splitlines() == [
        "served              yes",
        "batch tokens        1,024",
        "memory bytes        600 MiB, with one worker and a full batch",
    ]
