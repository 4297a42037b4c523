import argparse
import sys
from pathlib import Path

import pytest

from bench.operator import __main__ as command
from bench.operator.results import Phase, Run


def a_run(level_seconds: float) -> Run:
    phase = Phase(name="create", services=1000, figures={"level_seconds": level_seconds})
    return Run(started="now", commit="abc", machine="a CPU", idle_minutes=1, phases=(phase,))


def status(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["bench.operator", *arguments])
    return command.main()


@pytest.mark.parametrize(("seconds", "expected"), [(59, 0), (61, 1)])
def test_the_exit_status_says_whether_every_range_is_met(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float, expected: int
) -> None:
    (tmp_path / "run.json").write_text(a_run(seconds).model_dump_json())

    assert status(monkeypatch, "--redraw", str(tmp_path / "run.json")) == expected


def test_json_can_be_redrawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run.json").write_text(a_run(1).model_dump_json())
    status(monkeypatch, "--redraw", str(tmp_path / "run.json"), "-o", "json")

    assert Run.model_validate_json(capsys.readouterr().out) == a_run(1)


def test_a_kubeconfig_that_is_not_there_is_reported_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert status(monkeypatch, "--kubeconfig", str(tmp_path / "none")) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("text", ["3000,1000", "0", "1000,1000"])
def test_numbers_of_services_grow(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        command._growing(text)


def test_a_setting_of_the_operator_needs_a_value() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="NAME=VALUE"):
        command._setting("WORKERS")
