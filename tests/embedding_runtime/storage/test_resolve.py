"""`resolve URI`: the commit and the weights, without a download."""

import io
import signal
from collections.abc import Mapping
from pathlib import Path

import pytest

from embedding_runtime.contract import RETRY_IS_USELESS, DownloadedModel
from embedding_runtime.storage import __main__ as initializer
from embedding_runtime.storage.log import Log
from embedding_runtime.storage.resolve import resolve
from support.fake_hub import FakeHub
from support.initializer import MODEL, a_model, hub_environment, initialize

WEIGHTS = len(MODEL["model.safetensors"])


def resolved(uri: str, environ: Mapping[str, str] | None = None) -> tuple[DownloadedModel, str]:
    """The report and the line for people."""
    lines: list[str] = []
    found = resolve(uri, environ or {}, Log(io.StringIO(), ()), lines.append)
    (line,) = lines
    return found, line


def test_a_branch_is_resolved_to_its_commit_with_one_request(tmp_path: Path) -> None:
    served = a_model(tmp_path / "served", {**MODEL, "onnx/model.onnx": b"0", "pytorch_model.bin": b"duplicate"})
    with FakeHub({"owner/name": served}) as hub:
        found, line = resolved("hf://owner/name:main", {"HF_ENDPOINT": hub.url})
        commit = hub.repositories["owner/name"].commit
    assert found == DownloadedModel(revision=commit, weights_bytes=WEIGHTS)
    assert line == f"hf://owner/name:main: commit {commit}, 5 files, 2.0 MB, 2.0 MB of them weights"
    assert [request.path for request in hub.seen] == ["/api/models/owner/name/revision/main"]


def test_a_directory_has_no_version(tmp_path: Path) -> None:
    found, line = resolved(f"file://{a_model(tmp_path / 'source')}")
    assert found == DownloadedModel(weights_bytes=WEIGHTS)
    assert ": no version, 5 files, 2.0 MB, " in line


def test_the_weights_of_an_archive_are_not_known(tmp_path: Path) -> None:
    source = a_model(tmp_path / "source", {"model.tar": b"0"})
    assert resolved(f"file://{source}")[0] == DownloadedModel(weights_bytes=0)


def test_the_report_is_the_termination_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    monkeypatch.setattr(initializer, "TERMINATION_LOG", log)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert initializer.main(["resolve", f"file://{a_model(tmp_path / 'source')}"]) == 0
    assert DownloadedModel.from_message(log.read_text()) == DownloadedModel(weights_bytes=WEIGHTS)
    assert capsys.readouterr().out.startswith("file://")


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        ("hf://owner/nmae", "has no repository owner/nmae"),
        ("hf://owner/words", "has neither config.json nor modules.json"),
        ("hf://owner/name:v9", "has no revision 'v9'"),
    ],
)
def test_what_is_not_there_is_said_before_a_download(uri: str, words: str, tmp_path: Path) -> None:
    served = {"owner/name": a_model(tmp_path / "model"), "owner/words": a_model(tmp_path / "words", {"README.md": b""})}
    with FakeHub(served) as hub:
        outcome = initialize("resolve", uri, environ=hub_environment(hub))
    assert outcome.code == RETRY_IS_USELESS
    assert outcome.last_line.startswith("ModelNotFound: ")
    assert words in outcome.last_line


def test_a_directory_is_not_an_argument() -> None:
    outcome = initialize("resolve", "hf://owner/name", "/mnt/models")
    assert outcome.code == 2
    assert "unrecognized arguments: /mnt/models" in outcome.last_line
