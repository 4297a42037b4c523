"""What the initializer writes into the container's termination message."""

import json
import os
import signal
from pathlib import Path

import pytest

from embedding_runtime.contract import MODEL_NOTE, DownloadedModel
from embedding_runtime.storage import __main__ as initializer
from embedding_runtime.storage.report import report_directory
from support.initializer import MODEL, a_model

SIZE = len(MODEL["model.safetensors"])


def reported(directory: Path, tmp_path: Path) -> tuple[str, list[str]]:
    """The termination message, and the log."""
    log, said = tmp_path / "termination-log", list[str]()
    log.touch()
    report_directory(directory, log, said.append)
    return log.read_text(), said


def test_the_size_of_all_weights_is_reported(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model", {**MODEL, "2_Dense/pytorch_model.bin": bytes(100)})
    text, _ = reported(model, tmp_path)
    assert DownloadedModel.from_message(text) == DownloadedModel(weights_bytes=SIZE + 100)


def test_the_commits_in_the_note_of_the_download_are_reported(tmp_path: Path) -> None:
    model = a_model(tmp_path / "model")
    note = {"uri": "hf://a/b", "revision": "c9745ed1", "code": {"a/code": "f1e2"}}
    (model / MODEL_NOTE).write_text(json.dumps(note))
    text, _ = reported(model, tmp_path)
    assert DownloadedModel.from_message(text) == DownloadedModel(
        weights_bytes=SIZE, revision="c9745ed1", code={"a/code": "f1e2"}
    )


@pytest.mark.parametrize("note", ["no JSON", "[1]", '{"revision": 7}', "[" * 100_000], ids=str.__len__)
def test_a_note_that_cannot_be_read_fails_nothing(tmp_path: Path, note: str) -> None:
    model = a_model(tmp_path / "model")
    (model / MODEL_NOTE).write_text(note)
    text, said = reported(model, tmp_path)
    assert text == ""
    assert f"{model} is not reported in" in said[0]


def test_outside_of_a_pod_there_is_no_report(tmp_path: Path) -> None:
    report_directory(a_model(tmp_path / "model"), tmp_path / "termination-log", print)
    assert not (tmp_path / "termination-log").exists()


@pytest.mark.parametrize("is_there", [False, True], ids=["downloaded now", "there already"])
def test_the_initializer_reports_what_it_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_there: object
) -> None:
    log, source, directory = tmp_path / "termination-log", a_model(tmp_path / "source"), tmp_path / "models"
    log.touch()
    if is_there:
        a_model(directory)
    monkeypatch.setattr(initializer, "TERMINATION_LOG", log)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert initializer.main([f"file://{source}", str(directory)]) == 0
    assert DownloadedModel.from_message(log.read_text()) == DownloadedModel(weights_bytes=SIZE)


def test_a_cached_model_is_reported_with_its_path_which_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log, source = tmp_path / "termination-log", a_model(tmp_path / "source")
    log.touch()
    monkeypatch.setattr(initializer, "TERMINATION_LOG", log)
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    monkeypatch.setattr(os, "umask", lambda _: None)
    for _ in range(2):
        log.write_text("")
        assert initializer.main(["cache", f"file://{source}", str(tmp_path / "cache")]) == 0
        (model,) = (tmp_path / "cache" / "models").iterdir()
        found = DownloadedModel.from_message(log.read_text())
        assert found is not None
        assert found.used_bytes is not None
        assert found.used_bytes >= SIZE
        without_space = found.model_copy(update={"used_bytes": None, "free_bytes": None})
        assert without_space == DownloadedModel(weights_bytes=SIZE, path=model.name)
        assert capsys.readouterr().out == f"{model}\n"
